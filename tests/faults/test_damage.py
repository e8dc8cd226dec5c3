"""A stored file that is damaged, or belongs to another job, is an error that names it; scratch is made again."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs import PruneJob, prune_job
from prunebench.errors import PrunebenchError
from prunebench.plan.graph import ordered
from prunebench.plan.jobs.base import Job
from prunebench.results.current import Results
from prunebench.stages.run import run
from prunebench.storage import checkpoints, sealed
from prunebench.storage.finished_blocks import Scratch
from prunebench.storage.resume import Parts
from prunebench.storage.tensors import TensorStore

SETTINGS: dict[str, Any] = {"method": "pruner_zero", "allocator": "owl", "blocks": 2}
"""A cell that reads a profile, gradients, an allocation, tokens, a model and a text."""


def flipped(file: Path, _: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def flipped_at_the_end(file: Path, _: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-min(9, len(content))] ^= 16
    file.write_bytes(content)


def cut(file: Path, _: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def emptied(file: Path, _: Path) -> None:
    file.write_bytes(b"")


def replaced(file: Path, other: Path) -> None:
    shutil.copy2(other, file)


def unreadable(file: Path, _: Path) -> None:
    file.unlink()
    file.mkdir()


DAMAGES = (flipped, flipped_at_the_end, cut, emptied, replaced, unreadable)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[PruneJob, PruneJob]:
    """One cell with its evaluation, and one of another seed and sparsity, whose files have the same kinds."""
    return finish(tmp_path_factory.mktemp("one")), finish(
        tmp_path_factory.mktemp("other"), calibration="text_5x16", sparsity=0.6, seed=5
    )


def finish(root: Path, **changes: Any) -> PruneJob:
    job = prune_job(root, **{**SETTINGS, **changes})
    for step in ordered([job.evaluating("ppl")]):
        run(step, root)
    return job


def steps(job: PruneJob) -> list[Job]:
    return ordered([job.evaluating("ppl")])


def files(job: PruneJob) -> Iterator[tuple[str, Job]]:
    """The files of the jobs that another job reads, by rule and name, with the reader."""
    for step in steps(job):
        for name in step.writes:
            for reader in steps(job):
                if step.output(name).path in str({key: reader.input(key) for key in reader.needs}):
                    yield f"{step.rule} {name}", reader
                    break


KINDS = (
    "fetch_model asset",
    "fetch_corpus asset",
    "calibrate tokens",
    "profile profile",
    "gradients gradients",
    "allocate allocation",
    "prune result",
    "prune weights",
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_input_is_named(
    finished: tuple[PruneJob, PruneJob], kind: str, damage: Callable[[Path, Path], None]
) -> None:
    one, _ = finished
    readers = dict(files(one))
    assert readers.keys() == set(KINDS)
    rule, name = kind.split()
    (path, another) = (
        job.root / next(step for step in steps(job) if step.rule == rule).output(name).path for job in finished
    )
    with Restored(path):
        damage(path, another)
        with pytest.raises(PrunebenchError, match=re.escape(path.name)) as error:
            run(readers[kind], one.root)
    assert re.search(r"delete it and run again|snakemake", str(error.value))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", (flipped, cut, emptied, replaced), ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("file", ("model.safetensors", "tokenizer.json", "calibration.jsonl"))
def test_a_damaged_file_of_an_asset_is_named(
    finished: tuple[PruneJob, PruneJob], file: str, damage: Callable[[Path, Path], None]
) -> None:
    one, _ = finished
    (path,) = (path for path in one.root.rglob(file) if "exported" not in path.parts)
    other = path.with_name("other")
    other.write_bytes(bytes(path.stat().st_size))
    rule = "profile" if file == "model.safetensors" else "calibrate"
    reader = next(step for step in steps(one) if step.rule == rule)
    with Restored(path):
        damage(path, other)
        with pytest.raises(PrunebenchError, match=re.escape(path.name)):
            run(reader, one.root)
    other.unlink()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("rule", ("prune", "evaluate"))
def test_a_damaged_result_is_missing_from_tables(
    finished: tuple[PruneJob, PruneJob],
    rule: str,
    damage: Callable[[Path, Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = finished
    monkeypatch.chdir(one.root)
    job, another = (next(step for step in steps(cell) if step.rule == rule) for cell in finished)
    assert Results(one.plan).valid(job)["status"] == "ok"
    with Restored(job.outputs[0]):
        damage(job.outputs[0], other.root / another.outputs[0])
        assert Results(one.plan).valid(job)["status"] == "missing"


@pytest.mark.parametrize("damage", (flipped, cut, emptied, replaced, unreadable), ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("kind", ("fetch_model asset", "calibrate tokens", "allocate allocation"))
def test_what_no_job_reads_again_is_named_by_the_tables(
    finished: tuple[PruneJob, PruneJob],
    kind: str,
    damage: Callable[[Path, Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run plans nothing for it, so the reason has to say which rule has to be forced."""
    one, _ = finished
    monkeypatch.chdir(one.root)
    rule, name = kind.split()
    (path, another) = (
        cell.root / next(step for step in steps(cell) if step.rule == rule).output(name).path for cell in finished
    )
    if path.read_bytes() == another.read_bytes():
        return  # both cells have this input
    with Restored(path):
        damage(path, another)
        state = Results(one.plan).valid(one.evaluating("ppl"))
    assert state["status"] == "missing" and f"--forcerun {rule}" in state["reason"]
    assert str(path.relative_to(one.root)) in state["reason"]


class Restored:
    """Put a file back when the context ends."""

    def __init__(self, path: Path) -> None:
        self._path, self._content = path, path.read_bytes()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        if self._path.is_dir():
            self._path.rmdir()
        self._path.write_bytes(self._content)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_piece_is_made_again(tmp_path: Path, damage: Callable[[Path, Path], None]) -> None:
    parts = Parts(tmp_path / "parts", "work")
    assert (parts.get_or("0", lambda: [0.1]), parts.get_or("1", lambda: [0.2])) == ([0.1], [0.2])
    damage(tmp_path / "parts/0.json", tmp_path / "parts/1.json")
    again = Parts(tmp_path / "parts", "work")
    assert (again.get_or("0", lambda: [0.1]), again.get_or("1", lambda: [0.3])) == ([0.1], [0.2])


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_block_is_pruned_again(tmp_path: Path, damage: Callable[[Path, Path], None]) -> None:
    save_file({"norm": torch.zeros(3)}, tmp_path / "model.safetensors")
    base = TensorStore(tmp_path / "model.safetensors")

    def blocks(value: float) -> list[float]:
        scratch = Scratch(tmp_path / ".blocks", base, "work")
        made = [({"norm": torch.full((3,), value + block)}, {"block": block}) for block in (0, 1)]
        return [float(scratch.get_or(block, lambda: made[block])[0]["norm"][0]) for block in (0, 1)]  # noqa: B023

    assert blocks(1.0) == [1.0, 2.0]
    damage(tmp_path / ".blocks/block_000.safetensors", tmp_path / ".blocks/block_001.safetensors")
    assert blocks(5.0) == [5.0, 2.0]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_mark_throws_the_work_away(tmp_path: Path, damage: Callable[[Path, Path], None]) -> None:
    Parts(tmp_path / "parts", "work").get_or("0", lambda: 1)
    Parts(tmp_path / "other", "other work")
    damage(tmp_path / "parts/identity", tmp_path / "other/identity")
    assert Parts(tmp_path / "parts", "work").get_or("0", lambda: 2) == 2


def test_equal_tensors_and_facts_are_equal_files(tmp_path: Path) -> None:
    """The library writes several entries of metadata in random order."""
    tensors = {"b": torch.arange(6.0).view(2, 3), "a": torch.ones(3, dtype=torch.uint8)}
    contents = set()
    for number in range(20):
        checkpoints.save(tmp_path / f"{number}", tensors, spec_hash="x", tokens="y", record={"z": 1})
        contents.add((tmp_path / f"{number}").read_bytes())
    assert len(contents) == 1
    stored = load_file(tmp_path / "0")
    assert all(torch.equal(stored[name], tensor) for name, tensor in tensors.items())


def test_every_flipped_bit_of_a_sealed_file_is_noticed(tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "tensors", {"a": torch.arange(4.0)}, spec_hash="x")
    sealed.write_record(tmp_path / "record", {"spec_hash": "x", "value": [1.5, "ü"]})
    for path, read in ((tmp_path / "tensors", checkpoints.verify), (tmp_path / "record", sealed.read_record)):
        content = path.read_bytes()
        expected = {key: value for key, value in read(path).items() if key != "seal"}
        for bit in range(8 * len(content)):
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            try:
                damaged_record = read(path)
            except sealed.Damaged:
                continue
            # A flipped bit in the name of the seal of tensors leaves the file of an earlier version, which is whole.
            assert path.name == "tensors" and expected.items() <= damaged_record.items()
