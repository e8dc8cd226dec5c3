"""Scratch directories beside a destination, so that the destination appears whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staging(dest: Path, purpose: str) -> Iterator[Path]:
    """Yield an empty directory beside `dest`, on the same file system, and remove it at the end.

    Its name follows from `dest` and `purpose`, so that the next run clears what a killed run has left.
    """
    scratch = dest.with_name(f".{dest.name}.{purpose}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def empty_directory(directory: Path) -> None:
    """Make `directory` exist and be empty."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
