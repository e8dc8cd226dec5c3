"""Prunes and evaluates one model without Snakemake; the command line and the Python functions call this package."""
