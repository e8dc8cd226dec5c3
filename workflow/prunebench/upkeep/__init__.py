"""Keeps a project in order: runs failed cells again, deletes unneeded files, checks the machine."""
