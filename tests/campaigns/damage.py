"""Stored files are damaged, one at a time. The next run has identical results, or names the file and a remedy.

Results that were made of the damaged file are deleted as well, so that the next run has to read it again.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from campaigns.counts import Try, differences, main, results, undisturbed
from dag.tree import STUDY, Tree

PLACES = ("resources", "results", ".snakemake/metadata")
STAGES = ("calibration", "allocations", "pruned", "evaluations")
"""Folders of results, each made of those before it."""
REMEDY = re.compile(r"delete|remove|run ", re.IGNORECASE)
TO_DELETE = re.compile(r"((?:results|resources)/\S+) [^\n]*: delete it|delete ((?:results|resources)/[^\s,]+)")
TO_FORCE = re.compile(r"--forcerun (\w+)")


def flipped(file: Path, at: float) -> None:
    """Flip one bit, at the fraction `at` of the file, and keep the modification time."""
    status = file.stat()
    content = bytearray(file.read_bytes() or b"\0")
    content[int(at * len(content))] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def flipped_now(file: Path, at: float) -> None:
    """Flip one bit; the file is newer than before."""
    flipped(file, at)
    file.touch()


def cut(file: Path, at: float) -> None:
    """Keep the first part of the file."""
    os.truncate(file, int(at * file.stat().st_size))


def emptied(file: Path, _: float) -> None:
    """Keep the name alone."""
    file.write_bytes(b"")


def deleted(file: Path, _: float) -> None:
    """Keep nothing."""
    file.unlink()


def a_folder(file: Path, _: float) -> None:
    """Put a folder in place of the file, which nobody can read, not even root."""
    file.unlink()
    file.mkdir()


def replaced(file: Path, at: float) -> None:
    """Put another file of this kind in place of the file, if the tree has one."""
    top = next(parent for parent in file.parents if parent.name in ("results", "resources", ".snakemake"))
    others = [other for other in sorted(top.rglob(f"*{file.suffix}")) if other.is_file() and other != file]
    alike = [other for other in others if other.name == file.name] or others
    if alike:
        shutil.copy2(alike[int(at * len(alike))], file)


DAMAGES: tuple[Callable[[Path, float], None], ...] = (
    flipped, flipped_now, cut, emptied, deleted, a_folder, replaced,
)  # fmt: skip


def campaign(random: Random, tries: int) -> Iterator[Try]:
    """Damage a file in each of `tries` copies of a finished tree, so that all files have their turn."""
    with undisturbed("damage") as study:
        whole = study.whole
        names = [
            path.relative_to(whole.root)
            for place in PLACES
            for path in sorted((whole.root / place).rglob("*"))
            if path.is_file()
        ]
        turns = [(name, damage) for name in names for damage in DAMAGES if not _is_not_ours(name, damage)]
        random.shuffle(turns)
        for name, damage in turns[:tries]:
            with TemporaryDirectory(prefix="try-") as place:
                tree = whole.copy(Path(place) / "tree")
                damage(tree.root / name, random.random())
                _forget_what_was_made_of(tree, name)
                outcome, words = _outcome(tree, name, study.results)
            yield outcome, f"{name} {damage.__name__}: {words}"


def _is_not_ours(name: Path, damage: Callable[[Path, float], None]) -> bool:
    """Whether Snakemake itself cannot read its record `name` after the damage."""
    return name.parts[0] == ".snakemake" and damage is a_folder


def _forget_what_was_made_of(tree: Tree, name: Path) -> None:
    """Delete the results of the stages after the stage of the file `name`."""
    if name.parts[0] not in ("resources", "results"):
        return
    stage = STAGES.index(name.parts[1]) + 1 if name.parts[0] == "results" and name.parts[1] in STAGES else 0
    if name.parts[0] == "results" and not stage:
        return
    for later in STAGES[stage:]:
        shutil.rmtree(tree.root / "results" / later, ignore_errors=True)
    (tree.root / "results/cells.csv").unlink(missing_ok=True)


def _outcome(tree: Tree, name: Path, before: dict[str, bytes]) -> Try:
    """Run, and if the run refuses the file, do what it says and run again."""
    status = tree.python("from prunebench.cli import app; app()", "status", "--configfile", STUDY)
    if "Traceback" in status.stdout:
        return "wrong", f"a traceback of status\n{status.stdout}"
    run = tree.snakemake("collect")
    cells = tree.root / "results/cells.csv"
    rows = cells.read_text(encoding="utf-8") if cells.is_file() else ""
    if run.returncode == 0 and ",missing," not in rows:
        different = differences(before, results(tree.root))
        return ("wrong", f"different: {different}") if different else ("recovered", "")
    if "Traceback" in run.stdout:
        return "wrong", f"a traceback\n{run.stdout}"
    if not any(name.name in line and REMEDY.search(line) for line in [*run.stdout.splitlines(), *rows.splitlines()]):
        return "wrong", f"no line names the file and what to do\n{rows}\n{run.stdout}"
    named = {first or second for first, second in TO_DELETE.findall(run.stdout + rows)}
    for path in (tree.root / name for name in {*named, "results/cells.csv"}):
        # Without a target snakemake makes what a deleted cells.csv rests on even if cells.csv is there.
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    forced = TO_FORCE.findall(run.stdout)
    again = tree.snakemake("collect", *(["--forcerun", *dict.fromkeys(forced)] if forced else []))
    different = differences(before, results(tree.root))
    if again.returncode or different:
        return "wrong", f"after the remedy: {again.returncode}, different: {different}\n{run.stdout}\n{again.stdout}"
    return "refused", ""


if __name__ == "__main__":
    main("damage", campaign, 150)
