"""What papers and repositories have published, and which of it is to stand beside a number of ours."""
