"""The numbers that papers and repositories have published, and the choice of those that stand beside ours."""
