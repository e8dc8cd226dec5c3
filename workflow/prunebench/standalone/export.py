"""Writes a finished cell as a directory that `from_pretrained` loads: the whole model, with pruned weights as zeros."""

import difflib
import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from prunebench.assets.manifest import MANIFEST_NAME, Manifest, load_manifest
from prunebench.assets.tokens import in_words
from prunebench.config.values import STORED
from prunebench.errors import PrunebenchError
from prunebench.estimate import space
from prunebench.plan import paths
from prunebench.plan.find import fitting
from prunebench.runtime.provenance import versions
from prunebench.standalone.portable import OLDEST, portable_config, portable_tokenizer
from prunebench.storage import checkpoints
from prunebench.storage.files import read_object, sha256_file, write_json, write_text
from prunebench.storage.layout import (
    CONFIG,
    is_packed,
    model_files,
    read_layout,
)
from prunebench.storage.locks import alone
from prunebench.storage.packed import Packing
from prunebench.storage.sealed import read_if_whole, read_record
from prunebench.storage.staging import empty_directory, staging
from prunebench.storage.tensors import PackedStore, TensorStore, storage_dtype
from prunebench.storage.writing import write_weights
from prunebench.tables.escape import markdown

PRUNED = Path(paths.PRUNED.partition("{")[0])
WEIGHTS = Path(paths.WEIGHTS).name
MEASURED = Path(paths.PRUNE_MEASURED).name
RECORD, CARD = "prunebench.json", "README.md"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
READ = frozenset(
    ("", ".json", ".jinja", ".model", ".spm", ".tiktoken", ".bpe", ".vocab", ".txt", ".md", ".rst", ".yaml", ".py")
)
"""Suffixes of files that a reader of a model needs beside its weights. Other files are weights or training states."""
TERMS = ("LICENSE*", "LICENCE*", "NOTICE*", "COPYING*", "USE_POLICY*")
"""Names of files that belong to every copy of a model, whatever their suffix."""
LEFT = (
    MANIFEST_NAME,  # the record of how this project fetched the model
    "*.index.json",
    "*.index.*.json",  # the index of a second format or variant
    "adapter_*",  # with peft installed, transformers would put the adapter on top of the pruned weights
    "trainer_state.json",
    "*_results.json",
    "quantize_config.json",
    "latest",  # DeepSpeed writes it
    "zero_to_fp32.py",
)
"""Names of files that belong to other weights than the exported ones, or to the making of the model."""


def export(cell: str, destination: Path, *, force: bool = False, packing: Packing | None = None) -> dict[str, Any]:
    """Write the pruned model of `cell` to the directory `destination`; return the content of its prunebench.json.

    With `packing`, the linears of the blocks are written as bitmasks and kept values, for `prunebench.load`.

    `cell` is the cell's directory, or the part of it after results/pruned/, or words that fit no other cell (see
    `plan.find.fitting`). `destination` appears when it is complete.
    With `force` its old content is deleted. Raises PrunebenchError if there is no such cell, if it failed, if its
    weights were not kept, if its model has changed, if `destination` has content and `force` is not given, or if
    another run writes `destination`.
    """
    source, destination = _find(cell), destination.resolve()
    with writing(destination):
        return write_directory(source, destination, force=force, packing=packing)


def writing(destination: Path) -> AbstractContextManager[None]:
    """Hold the right to write the directory `destination` (absolute). Raises PrunebenchError if another run has it."""
    return alone(destination, f"{destination} is being written", "wait for it, stop it, or choose another directory")


def write_directory(source: Path, destination: Path, *, force: bool, packing: Packing | None = None) -> dict[str, Any]:
    """Write the model of the cell in the directory `source` to `destination` (absolute). Call it inside `writing`."""
    root = source.parents[6]
    pruned = _finished(source, root)
    manifest = load_manifest(root / paths.MODEL.format(model=source.parents[3].name))
    refuse_to_overwrite(destination, force=force, model=manifest.directory.resolve(), precious=(source.resolve(),))
    _refuse_changed(manifest, pruned["inputs"]["model"])
    if packing is None:
        space.check([space.dense_copy(manifest, destination.parent)])
    storage: str = pruned["spec"]["storage"]
    layout = read_layout(manifest.directory)
    record = {
        "cell": source.relative_to(root / PRUNED).as_posix(),
        "model": manifest.model_dump(mode="json", include={"title", "source"}),
        "prune": {key: value for key, value in pruned.items() if key != "blocks"},
        **_calibration(source, root, pruned["inputs"].get("tokens")),
        "measured": read_if_whole(source / MEASURED) or {},
        "versions": versions(),
        **({} if packing is None else {"packed": packing._asdict()}),
    }
    with staging(destination, "export") as scratch:
        _copy_all_but_weights(manifest.directory, manifest.files, scratch)
        dtype = layout.dtype if storage == STORED else storage
        # This key names other files of weights. The export has the names that transformers looks for by itself.
        config = {key: value for key, value in layout.config.items() if key != "transformers_weights"}
        write_json(scratch / CONFIG, portable_config(config, dtype))
        if (tokenizer := _portable_tokenizer(manifest.directory)) is not None:
            write_json(scratch / TOKENIZER_CONFIG, tokenizer)
        base = TensorStore(layout.directory, storage_dtype(storage))
        changed = PackedStore(source / WEIGHTS, base)
        write_weights(layout, lambda name: (changed if name in changed else base)[name], scratch, packing)
        write_json(scratch / RECORD, record)
        write_text(scratch / CARD, model_card(record))
        if force:
            empty_directory(destination)
        scratch.rename(destination)
    return record


def export_or_repack(
    cell: str, destination: Path, packing: Packing | None, *, dense: bool = False, force: bool = False
) -> dict[str, Any] | None:
    """Write `cell` to `destination` as `export` does, or if it is a model directory, pack it or write it densely.

    Returns the content of the cell's prunebench.json, or None for a model directory. Raises PrunebenchError as `export`
    and `repack` do.
    """
    if packing and dense:
        raise PrunebenchError("--dense and --packed: choose one of them")
    is_model = _is_model(Path(cell))
    if is_model and not dense and packing is None:
        raise PrunebenchError(
            f"{cell} is a model directory, and no cell: add --packed to pack it, --dense to unpack it"
        )
    if dense or is_model:
        repack(Path(cell), destination, packing, force=force)
        return None
    return export(cell, destination, force=force, packing=packing)


def _is_model(directory: Path) -> bool:
    """Whether a model is in `directory`, and no finished cell."""
    return (directory / CONFIG).is_file() and not (directory / "prune.json").is_file()


def repack(source: Path, destination: Path, packing: Packing | None, *, force: bool = False) -> None:
    """Write the model in the directory `source` to `destination`: packed, or without `packing` densely.

    A packed export that goes back has the files of the dense export of its cell, bit for bit, if its values have 16
    bits. Raises PrunebenchError if `source` is no model, or is packed already, or is not packed.
    """
    source, destination = source.resolve(), destination.resolve()
    layout = read_layout(source)
    if is_packed(source) == (packing is not None):
        raise PrunebenchError(f"{source} is {'packed already' if packing else 'not packed'}: there is nothing to do")
    with writing(destination), staging(destination, "export") as scratch:
        refuse_to_overwrite(destination, force=force, model=source)
        if packing is None:
            space.check([space.dense_model(layout, destination.parent)])
        _copy_all_but_weights(source, (file.relative_to(source).as_posix() for file in model_files(layout)), scratch)
        write_weights(layout, TensorStore(source).__getitem__, scratch, packing)
        if (scratch / RECORD).is_file():
            record = {key: value for key, value in read_object(source / RECORD).items() if key != "packed"}
            record |= {} if packing is None else {"packed": packing._asdict()}
            write_json(scratch / RECORD, record)
            write_text(scratch / CARD, model_card(record))
        if force:
            empty_directory(destination)
        scratch.rename(destination)


def packed_in_words(directory: Path) -> str:
    """Say how large the weights of the packed model in `directory` are, how large dense ones are, and what loads it."""
    layout = read_layout(directory)
    packed = sum(file.stat().st_size for file in layout.files)
    dense = int(space.dense_model(layout, directory).bytes)
    return f"{decimal(packed)}, dense {decimal(dense)}; load it by prunebench.load"


def check_exportable(directory: Path) -> None:
    """Raise PrunebenchError, before any work, if a pruned copy of the model in `directory` could not be written."""
    _portable_tokenizer(directory)


def _portable_tokenizer(directory: Path) -> dict[str, Any] | None:
    """The tokenizer_config.json of an export of the model in `directory`; None if it has no tokenizer to change."""
    file = directory / TOKENIZER_CONFIG
    if not file.is_file() or not (directory / TOKENIZER).is_file():
        return None
    return portable_tokenizer(read_object(file))


def model_card(record: dict[str, Any]) -> str:
    """The README of an exported directory, in Markdown; `record` is the content of its prunebench.json."""
    prune, spec = record["prune"], record["prune"]["spec"]
    _, _, allocator, point, calibration = record["cell"].split("/")
    title = prune["model"]["title"]
    source = prune["model"]["source"]
    origin = f"{title} ({source['package']} {source['version']})" if source["kind"] == "package" else title
    settings = ", ".join(f"{key} {value}" for key, value in spec["params"].items()) or "none"
    compute = spec["compute"] and ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in spec["compute"].items()
    )
    rows = {
        "Made from": origin,
        "Method": f"{spec['method']} (parameters: {settings})",
        "Sparsity": f"{prune['achieved_sparsity']:.2%} of {prune['prunable_weights']:,} weights in the blocks' linears",
        "Pattern": spec["pattern"],
        "Allocator": allocator,
        "Calibration": _tokens_in_words(calibration, record),
        "Computed with": compute or "weights alone, nothing runs forward",
        "Stored as": f"{'the dtype of the source' if spec['storage'] == STORED else spec['storage']}, "
        + (_packing_in_words(record["packed"]) if "packed" in record else _DENSE),
    }
    if beyond := prune.get("zeros_beyond_target"):
        rows["Beyond the target"] = f"{beyond:,} weights, zero before pruning where fewer zeros were asked for"
    table = "\n".join(f"| {key} | {markdown(value)} |" for key, value in rows.items())
    return (
        f"# {markdown(title)}, pruned to {prune['achieved_sparsity']:.0%} ({point})\n\n| | |\n|:--|:--|\n{table}\n\n"
        "Embeddings, norms and head are as they were. Zeros save time and memory only in a runtime that knows of them."
        f"\n\nMade by prunebench {record['versions'].get('prunebench', '')}; everything that decides its weights is in "
        f"`{RECORD}`. Licence and intended use are those of the model that it was made from.\n"
    )


_DENSE = f"dense, with zeros in place, for transformers >= {OLDEST}"


def _packing_in_words(packing: dict[str, Any]) -> str:
    scales = f"a scale for each {packing['group'] or 'row'}{' columns of a row' if packing['group'] else ''}"
    values = "kept values" if packing["bits"] is None else f"kept values of 8 bits with {scales}"
    return f"packed (bitmasks and {values}), for prunebench.load"


def _calibration(source: Path, root: Path, tokens: str | None) -> dict[str, Any]:
    """Return {"calibration": record} of how the tokens with the digest `tokens` were drawn, or {} without a record."""
    path = root / Path(paths.TOKENS_RECORD.partition("{")[0]) / source.parents[3].name / f"{source.name}.json"
    drawn = read_if_whole(path) or {}
    return {"calibration": drawn} if tokens and drawn.get("sha256") == tokens else {}


def _tokens_in_words(calibration: str, record: dict[str, Any]) -> str:
    """Describe the calibration tokens in the words of the model card."""
    if "tokens" not in record["prune"]["inputs"]:
        return "none"
    drawn = record.get("calibration", {})
    front = drawn.get("bos")  # None for images, and for a user's token ids, where it is unknown
    kind = "" if front is None else f"{in_words(front, front)}, "
    if pairing := drawn.get("pairing"):
        kind = f"images with text{', the text counted alone' if pairing['text_only'] else ''}, "
    return f"{calibration} ({kind}sha256 {record['prune']['inputs']['tokens']})"


def _find(cell: str) -> Path:
    """Find the directory of the pruned cell `cell`. Raises PrunebenchError with the nearest names if there is none."""
    for directory in (Path(cell), PRUNED / cell):
        if (directory / "prune.json").is_file():
            return directory.absolute()  # The path is not resolved: results/ may be a link to another disk.
    known = ["/".join(path.parts[-6:-1]) for path in PRUNED.glob("*/*/*/*/*/prune.json")]
    if path := fitting(cell, known):
        return (PRUNED / path).absolute()
    near = difflib.get_close_matches(cell.removeprefix(f"{PRUNED}/"), known, n=3, cutoff=0)
    hint = (
        "the nearest are " + ", ".join(near)
        if near
        else f"there is none under {PRUNED.absolute()}. Run this where snakemake ran, or give the directory's path"
    )
    raise PrunebenchError(f"no finished cell {cell!r}: {hint}")


def _finished(source: Path, root: Path) -> dict[str, Any]:
    """Read the prune.json of the cell in the directory `source` of the project `root`.

    Raises PrunebenchError if the cell failed, has no weights, or is damaged.
    """
    record = read_record(source / "prune.json")
    if record["status"] != "ok":
        raise PrunebenchError(f"nothing to export, {source} failed: {record['reason']}")
    weights = source / WEIGHTS
    if not weights.exists():
        raise PrunebenchError(
            f"the weights of {source} were not kept (keep_weights: none or mask), or deleted. Put keep_weights: packed "
            f"into the config of its study, and run snakemake --cores all {weights.relative_to(root)}"
        )
    checkpoints.verify_weights(weights, record)
    return record


def refuse_to_overwrite(
    destination: Path, *, force: bool, model: Path | None = None, precious: tuple[Path, ...] = ()
) -> None:
    """Raise PrunebenchError unless a model may be written to the directory `destination`; all paths are absolute.

    With `force` the directory may have content, but not the working directory, the `model` that the new one is made
    from, or one of `precious`.
    """
    if model == destination:
        raise PrunebenchError(f"{destination} is the model itself: choose another directory")
    if any(path.is_relative_to(destination) for path in filter(None, (Path.cwd(), model, *precious))):
        raise PrunebenchError(
            f"{destination} holds the project, or what the model is made from: choose another directory"
        )
    if destination.exists() and not destination.is_dir():
        raise PrunebenchError(f"{destination} is a file: choose another directory")
    if destination.exists() and any(destination.iterdir()) and not force:
        raise PrunebenchError(
            f"{destination} is not empty: choose another directory, or delete what it holds with --force"
        )


def _refuse_changed(manifest: Manifest, digest: str) -> None:
    """Raise PrunebenchError if the files of the model have changed since the cell was pruned."""
    changed = [file for file, entry in manifest.files.items() if sha256_file(manifest.directory / file) != entry.sha256]
    if changed or manifest.digest != digest:
        what = f" ({', '.join(changed)})" if changed else ""
        raise PrunebenchError(
            f"the model in {manifest.directory} has changed{what} since the cell was pruned: run snakemake again"
        )


def _copy_all_but_weights(source: Path, files: Iterable[str], destination: Path) -> None:
    for file in filter(_is_read, files):
        (destination / file).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / file, destination / file)


def _is_read(file: str) -> bool:
    """Whether a reader of the exported model needs `file`, a path in the model directory."""
    name = Path(file).name
    if any(fnmatchcase(name.upper(), pattern) for pattern in TERMS):
        return True
    return Path(name).suffix in READ and not any(fnmatchcase(name, pattern) for pattern in LEFT)
