"""Stored files are damaged, one at a time. The next run has identical results, or names the file and a remedy.

Results that were made of the damaged file are deleted as well, so that the next run has to read it again. Unfinished
work of killed jobs is damaged too, in a tree in which all jobs have left theirs.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import yaml

import tiny
import zeroshot
from campaigns.counts import CELLS, Try, differences, main, results, small, undisturbed
from dag.tree import STUDY, Tree

PLACES = ("resources", "results", ".snakemake/metadata")
STAGES = ("calibration", "profiles", "gradients", "searches", "allocations", "pruned", "evaluations")
"""Folders of results, each made of those before it."""
SHOWN = ("tables", "figures", "report")
"""Folders of results for people to read, which no job reads again."""
OF_CELLS = ("cells.csv", "cells.csv.sha256")
TABLE = "results/of/tiny/tables/tiny/perplexity.md"
"""A file that a job makes from the table of all cells."""
WIDE = {
    "models": {"tiny": {"title": "Tiny", "family": "llama", "source": {"kind": "path", "path": "assets/tiny"}}},
    "corpora": {
        "text": {"title": "Text", "source": {"kind": "path", "path": "assets/text.txt"}, "documents": "lines"},
        "own": {"title": "Own", "source": {"kind": "generated", "temperature": 1.0}},
    },
    "searches": {
        "evolved": {
            **{"model": "tiny", "calibration": "text_4x16", "sparsity": 0.5, "evaluations": 3, "seeds": [0, 1]},
            **{"corpus": "text", "windows": 3, "seqlen": 16, "population": 3},
        }
    },
    "allocators": {"found": {"allocator": "dsa", "params": {"search": "evolved"}}},
    "suites": {
        "ppl_tiny": {"suite": "perplexity", "params": {"corpora": ["text"], "seqlen": 16, "windows": 4}},
        "asked": {"suite": "lm_eval", "params": {"data": "made", "tasks": ["rte", "arc_easy"], "limit": 4}},
    },
    "compute": {"dtype": "bfloat16", "batch_size": 2, "threads": 1},
}
"""A config whose studies have every kind of stored file."""
GRID = [
    {"model": "tiny", "method": "dense"},
    {"model": "tiny", "method": "wanda", "sparsity": 0.5, "calibration": "text_4x16"},
    {"model": "tiny", "method": "pruner_zero", "allocator": "found", "sparsity": 0.5, "calibration": "own_4x16"},
]
REMEDY = re.compile(r"delete|remove|run ", re.IGNORECASE)
TO_DELETE = re.compile(r"((?:results|resources)/\S+) [^\n]*: delete it|delete ((?:results|resources)/[^\s,\"]+)")
HISTORY = ".history.csv"
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

RESUMES = tuple(f"workflow/prunebench/storage/{name}.py" for name in ("resume", "finished_blocks"))
"""The modules that keep the work of an unfinished job."""
CLEANS = "shutil.rmtree(self.directory)"
"""The line of each that deletes this work when the job ends."""


def wide(root: Path) -> Tree:
    """A tree with a study that has every kind of stored file, nothing of it made."""
    tree = small(root)
    tiny.make_model(root / "assets/tiny", tokenizer=zeroshot.reading_tokenizer(), **zeroshot.READER)
    tasks = zeroshot.bundle(root / "assets/tasks", "rte", "arc_easy")
    tasks["source"]["path"] = "assets/tasks"
    study = {"suites": ["ppl_tiny", "asked"], "searches": ["evolved"], "grid": GRID}
    (root / STUDY).write_text(yaml.safe_dump({**WIDE, "studies": {"tiny": study}, "tasks": {"made": tasks}}))
    return tree


def unfinished(fresh: Tree, root: Path) -> Tree:
    """A copy at `root` of the tree `fresh`, finished, in which every job has left the work that it would resume from.

    What deletes that work when a job ends is taken out of the code, which counts in no fingerprint.
    """
    tree = fresh.copy(root)
    for name in RESUMES:
        tree.edit(name, CLEANS, "pass")
    run = tree.snakemake("collect")
    assert run.returncode == 0, run.stdout
    for name in RESUMES:
        shutil.copy2(fresh.root / name, tree.root / name)
    return tree


def campaign(random: Random, tries: int) -> Iterator[Try]:
    """Damage a file in each of `tries` copies of a finished tree, so that all files have their turn."""
    with undisturbed("damage", wide, "all") as study, TemporaryDirectory(prefix="unfinished-") as other:
        left = unfinished(study.fresh, Path(other) / "tree")
        turns = [(study.whole, name, damage) for name in _files(study.whole) for damage in DAMAGES]
        turns += [(left, name, damage) for name in _files(left) if is_scratch(name) for damage in DAMAGES]
        turns = [turn for turn in turns if not _is_not_ours(*turn[1:])]
        random.shuffle(turns)
        for whole, name, damage in turns[:tries]:
            with TemporaryDirectory(prefix="try-") as place:
                tree = whole.copy(Path(place) / "tree")
                damage(tree.root / name, random.random())
                _forget_what_was_made_of(tree, name)
                outcome, words = _outcome(tree, name, study.whole)
            yield outcome, f"{name} {damage.__name__}: {words}"


def _files(tree: Tree) -> list[Path]:
    files = [path for place in PLACES for path in sorted((tree.root / place).rglob("*")) if path.is_file()]
    names = [path.relative_to(tree.root) for path in files]
    return [name for name in names if name.parts[:1] != ("results",) or name.parts[1] not in SHOWN]


def is_scratch(name: Path) -> bool:
    """Whether a file of results/ is unfinished work."""
    return name.parts[0] == "results" and any(part.startswith(".") for part in name.parts)


def _is_not_ours(name: Path, damage: Callable[[Path, float], None]) -> bool:
    """Whether Snakemake itself cannot read its record `name` after the damage."""
    return name.parts[0] == ".snakemake" and damage is a_folder


def _forget_what_was_made_of(tree: Tree, name: Path) -> None:
    """Delete the results of the stages after the stage of the file `name`, and of its own stage if it is scratch."""
    place = tree.root / "results"
    if name.parts[0] not in ("resources", "results"):
        return
    if name.name not in OF_CELLS:
        stage = STAGES.index(name.parts[1]) + (not is_scratch(name)) if name.parts[0] == "results" else 0
        for later in STAGES[stage:]:
            for path in (place / later).rglob("*"):
                if path.is_file() and not is_scratch(path.relative_to(tree.root)):
                    path.unlink()
        (tree.root / CELLS).unlink(missing_ok=True)
    for shown in SHOWN:
        shutil.rmtree(place / shown, ignore_errors=True)


def _results(tree: Tree, target: str) -> dict[str, bytes]:
    """The results that a run for `target` must give, without unfinished work: other jobs may have left some.

    Nothing reads the history of a search as CSV. It is a copy for people of what its sealed result holds.
    """
    files = results(tree.root).items()
    made = {name: content for name, content in files if not is_scratch(Path(name)) and not name.endswith(HISTORY)}
    table = tree.root / target
    return made | ({target: table.read_bytes()} if table.is_file() else {})


def _outcome(tree: Tree, name: Path, whole: Tree) -> Try:
    """Run, and if the run refuses the file, do what it says and run again. The results must be those of `whole`."""
    # Only tables read the table of all cells.
    target = TABLE if name.name in OF_CELLS else "collect"
    before = _results(whole, target)
    status = tree.python("from prunebench.cli import app; app()", "status", "--configfile", STUDY)
    if "Traceback" in status.stdout:
        return "wrong", f"a traceback of status\n{status.stdout}"
    run = tree.snakemake(target)
    cells = tree.root / "results/of/tiny/cells.csv"
    rows = cells.read_text(encoding="utf-8") if cells.is_file() else ""
    if run.returncode == 0 and ",missing," not in rows:
        different = differences(before, _results(tree, target))
        return ("wrong", f"different: {different}") if different else ("recovered", "")
    if "Traceback" in run.stdout:
        return "wrong", f"a traceback\n{run.stdout}"
    if not any(name.name in line and REMEDY.search(line) for line in [*run.stdout.splitlines(), *rows.splitlines()]):
        return "wrong", f"no line names the file and what to do\n{rows}\n{run.stdout}"
    words = run.stdout + rows
    named = {first or second for first, second in TO_DELETE.findall(words)}
    for path in (tree.root / name for name in {*named, "results/of/tiny/cells.csv"}):
        # Without a target snakemake makes what a deleted cells.csv rests on even if cells.csv is there.
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    forced = TO_FORCE.findall(words)
    again = tree.snakemake(target, *(["--forcerun", *dict.fromkeys(forced)] if forced else []))
    different = differences(before, _results(tree, target))
    if again.returncode or different:
        return "wrong", f"after the remedy: {again.returncode}, different: {different}\n{run.stdout}\n{again.stdout}"
    return "refused", ""


if __name__ == "__main__":
    main("damage", campaign, 150)
