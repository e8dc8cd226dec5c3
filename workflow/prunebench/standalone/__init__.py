"""Work on one model without Snakemake, by the same stages. The command line and the Python functions call this."""
