"""Numbers that must not change unless someone means to.

`prunebench accept` runs this folder before it believes that a refactoring keeps the numbers.
"""
