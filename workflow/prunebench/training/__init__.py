"""The training of one small model from random weights, on text that is used for nothing else."""
