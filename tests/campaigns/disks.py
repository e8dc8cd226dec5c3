"""Disks of random sizes, full in the middle of a run. The run says so; with space, the next has identical results."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from campaigns.counts import Try, differences, main, results, undisturbed
from dag.tree import Tree

PAGE = 4096
ROOMY = "1g"
TOLD = ("disk is full", "No space left", "free space")


def campaign(random: Random, tries: int) -> Iterator[Try]:
    """Run on `tries` disks in memory, each too small for the whole run, and again with space. Needs root to mount."""
    with undisturbed("disks") as study, TemporaryDirectory(prefix="disk-") as place:
        least, most = _pages(study.fresh.root), _pages(study.whole.root)
        disk = Path(place)
        for number in range(tries):
            pages = random.randint(least + 8, most)
            _mount(disk, ROOMY)
            try:
                tree = study.fresh.copy(disk / "tree")
                _mount(disk, str(pages * PAGE), "remount,")
                outcome, words = _outcome(tree, disk, study.results)
            finally:
                subprocess.run(["umount", "--lazy", disk], check=True)
            yield outcome, f"disk {number} of {pages} pages, between {least} and {most}: {words}"


def _outcome(tree: Tree, disk: Path, before: dict[str, bytes]) -> Try:
    full = tree.snakemake("collect")
    _mount(disk, ROOMY, "remount,")
    again = tree.snakemake("collect")
    different = differences(before, results(tree.root))
    if again.returncode or different:
        return "wrong", f"with space: exit code {again.returncode}, different: {different}\n{again.stdout}"
    if full.returncode == 0:
        return "recovered", ""
    if "Traceback" in full.stdout:
        return "wrong", f"a traceback\n{full.stdout}"
    if not any(words in full.stdout for words in TOLD):
        return "wrong", f"no line says that the disk is full\n{full.stdout}"
    return "refused", ""


def _pages(root: Path) -> int:
    """The pages of memory that the files at `root` take; folders take none."""
    return sum(-(-path.lstat().st_size // PAGE) for path in root.rglob("*") if path.is_file())


def _mount(disk: Path, size: str, how: str = "") -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{how}size={size}", "prunebench-test", disk], check=True)


if __name__ == "__main__":
    main("disks", campaign, 50)
