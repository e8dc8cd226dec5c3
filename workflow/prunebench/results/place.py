"""The directory in which the results lie that results/cells.csv was, or will be, gathered from."""

from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

from prunebench.plan import paths


@contextmanager
def among_results(cells: Path) -> Iterator[None]:
    """Work in the directory whose results/cells.csv is `cells`; a file of another name changes nothing.

    That is the working directory, unless Snakemake has brought the inputs of a job from a storage to another place.
    """
    path = cells.absolute()
    with chdir(path.parents[1] if path.match(paths.CELLS) else Path.cwd()):
        yield
