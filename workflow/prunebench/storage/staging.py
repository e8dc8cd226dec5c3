"""A scratch directory beside its destination, so that a directory appears whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staging(dest: Path, purpose: str) -> Iterator[Path]:
    """Yield an empty directory beside `dest` (same file system: moves are renames); it is removed on the way out.

    Its name is fixed by `dest` and `purpose`, so that the next run clears what a killed run left behind.
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
