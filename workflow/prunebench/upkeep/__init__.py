"""Keeps a project in order: it repeats failed jobs, deletes files that no study uses, and checks the machine."""
