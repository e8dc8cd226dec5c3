"""The directory in which the results lie that results/cells.csv was, or will be, gathered from."""

from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

from prunebench.plan import graph, paths
from prunebench.plan.plan import Plan


@contextmanager
def among_results(plan: Plan, cells: Path) -> Iterator[None]:
    """Work in the directory whose cells.csv is `cells`, with `plan`; a file of another name changes nothing.

    That is the working directory, unless Snakemake has brought the inputs of a job from a storage to another place.
    """
    path, here, place = cells.absolute(), Path.cwd(), paths.CELLS.format(home=plan.home)
    directory = path.parents[len(Path(place).parts) - 1] if path.match(place) else here
    if directory != here:
        for job in graph.jobs(plan):
            _ = (
                job.spec
            )  # lists and reads files of local models and corpora, whose paths are relative, as they are here
    with chdir(directory):
        yield
