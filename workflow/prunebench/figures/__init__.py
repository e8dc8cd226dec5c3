"""Figures of a study: what each shows is a Chart (one module per figure), which paper and report draw in their ways."""
