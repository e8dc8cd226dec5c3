"""The results on disk that are still valid: whether they are current, their details, and paired comparisons."""
