"""Campaigns: many random faults of one kind against the tiny pipeline, counted. `make test-faults` runs all."""
