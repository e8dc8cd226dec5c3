"""What a job asks of the machine."""

from pathlib import Path

GPUS_PER_JOB = int(any(Path("/dev").glob("nvidia[0-9]*")))
"""1 where there is a GPU to wait for. On a CPU-only machine 0: a limit of one GPU would run the jobs one by one."""
USABLE = 0.9
"""The part of a card's free memory that the weights of a whole model may take; the rest is for what a batch needs."""
