"""Keeping a project in order: running failures again, taking away what nobody wants, checking the machine."""
