"""`make bench-peers`: other programs that prune, beside ours."""
