"""What is on disk and still valid: current results, their details, paired comparisons."""
