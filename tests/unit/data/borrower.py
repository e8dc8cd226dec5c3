"""A process that takes and returns GPUs until it has done so often enough: borrower.py LOCKS COUNTS SEED DEVICE...

COUNTS is a directory; a finished lease is a line in COUNTS/finished-SEED, of how many it had. An overlap is a line in
COUNTS/overlaps: record locks (of another kind than the leases) on one byte per device say so. Prints nothing.
"""

import fcntl
import os
import random
import sys
import time
from pathlib import Path

from prunebench.runtime.gpus import held

LEASES = 50
locks, counts, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
devices = list(map(int, sys.argv[4:]))
source = random.Random(seed)
# Before any lock: files close in the order of their numbers when a process dies, so this one never outlives a lease.
witness = os.open(counts / "witness", os.O_RDWR | os.O_CREAT)
finished = os.open(counts / f"finished-{seed}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
overlaps = os.open(counts / "overlaps", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while os.fstat(finished).st_size < LEASES * 2:
    with held(source.choice((1, 1, 1, 2)), devices, locks) as taken:
        for device in taken:
            try:
                fcntl.lockf(witness, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, device)
            except OSError:
                os.write(overlaps, f"{device} held twice, by {os.getpid()} too\n".encode())
        time.sleep(source.random() / 500)
        for device in taken:
            fcntl.lockf(witness, fcntl.LOCK_UN, 1, device)
    os.write(finished, f"{len(taken)}\n".encode())
