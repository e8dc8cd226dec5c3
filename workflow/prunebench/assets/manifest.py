"""asset.json: the list of files of a fetched model, corpus or bundle of tasks. The Snakefile imports this module."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from prunebench.config.entries import Shape
from prunebench.config.sources import HubSource, ModelSource, Source, TasksSource
from prunebench.config.values import InnerPath, Sha256
from prunebench.errors import PrunebenchError, summary
from prunebench.identity.canonical import canonical, spec_hash
from prunebench.models.configs import dimensions
from prunebench.storage.expected import check, expect
from prunebench.storage.files import read_json, read_object, sha256_file, write_json
from prunebench.storage.sealed import Damaged, check_maker, read_record, write_record

MANIFEST_NAME = "asset.json"
WEIGHTS = ".safetensors"
"""The end of the name of a file of weights."""


class FileRecord(BaseModel):
    """The size and the digest of one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: int
    sha256: Sha256


class Arrival(BaseModel):
    """The commit and the digests of files that came from the hub."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repo: str
    revision: str
    commit: str  # the commit that the revision meant
    digests: dict[str, str]  # by path in the repository, the SHA-256 or (of small files) git's blob id


class Manifest(BaseModel):
    """A complete asset. The file is written last, so that its presence means that all files are there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spec_hash: str
    title: str
    directory: Path  # in the file: relative to the file; as returned by load_manifest: usable as it is
    files: dict[InnerPath, FileRecord]
    source: ModelSource | Source | TasksSource
    shape: Shape | None = None  # models only
    documents: dict[str, int] | None = None  # corpora only: documents per split
    split_by: Literal["position"] | None = None  # corpora only: too few documents to be split by their hashes
    test_windows: int | None = None  # corpora only: perplexity takes no more of the test split
    rows: dict[str, int] | None = None  # tasks only: rows per file
    arrival: Arrival | None = None  # from the hub only

    @property
    def digest(self) -> str:
        """One digest of all files, which results record, as a spec names a local path but not its content."""
        return spec_hash(canonical({name: record.sha256 for name, record in self.files.items()}))


def describe_files(files: Iterable[Path], directory: Path | None = None) -> dict[str, FileRecord]:
    """The size and digest of each file, by its path below `directory` (default: its name); reads all content."""
    return {
        file.relative_to(directory or file.parent).as_posix(): FileRecord(
            bytes=file.stat().st_size, sha256=sha256_file(file)
        )
        for file in files
    }


def arrival_path(dest: Path) -> Path:
    """The file beside `dest` that notes its commit and digests on the hub, for the next fetch to compare."""
    return dest.with_name(f".{dest.name}.hub.json")


def write_arrival(arrival: Arrival, dest: Path) -> None:
    """Write the note of `arrival` beside `dest`."""
    write_json(arrival_path(dest), arrival.model_dump(mode="json"))


def load_arrival(dest: Path) -> Arrival | None:
    """The note of the last arrival of `dest`; None if there is none, or if it cannot be read."""
    try:
        return Arrival.model_validate(read_json(arrival_path(dest)))
    except (OSError, ValueError):  # pydantic's and json's errors are ValueErrors
        return None


def write_manifest(manifest: Manifest, dest: Path) -> None:
    """Write `dest`/asset.json atomically; an asset from the hub gets its arrival note."""
    if isinstance(manifest.source, HubSource):
        manifest = manifest.model_copy(update={"arrival": load_arrival(dest)})
    write_record(dest / MANIFEST_NAME, manifest.model_dump(mode="json", exclude_none=True))


def load_manifest(path: Path, spec_hash: str | None = None) -> Manifest:
    """Read the asset.json at `path`; the directory in it is relative to `path`, and absolute in the result.

    Raises PrunebenchError if the file is absent or damaged, if the asset was not fetched with the spec of that hash, or
    if a listed file is missing or has another size. Whoever reads the files for a result calls `verified` instead.
    """
    try:
        stored = Manifest.model_validate(read_record(path))
    except FileNotFoundError as error:
        raise PrunebenchError(f"{path} does not exist: the asset is not fetched yet") from error
    except ValidationError as error:
        raise Damaged(path, f"is not an asset manifest ({summary(error)})") from error
    check_maker(path, stored.spec_hash, spec_hash)
    manifest = stored.model_copy(update={"directory": path.parent / stored.directory})
    for name, record in manifest.files.items():
        _check_size(manifest, manifest.directory / name, record.bytes)
    return manifest


def verified(path: Path, spec_hash: str | None = None) -> Manifest:
    """Read the asset.json at `path` like `load_manifest`, and check the content of its files against their digests.

    Files of weights are checked when they are first read (see `storage.expected`), all other files at once. Raises
    PrunebenchError if a digest differs, or if the asset was not fetched with the spec of that hash.
    """
    manifest = load_manifest(path, spec_hash)
    for name, record in manifest.files.items():
        file = manifest.directory / name
        expect(file, record.sha256, _changed(manifest, f"its SHA-256 is not {record.sha256}"))
        if file.suffix != WEIGHTS:
            check(file)
    return manifest


def read_shape(config_json: Path) -> Shape:
    """The sizes in a transformers config.json of any known model type, `text_config` included.

    Raises PrunebenchError, which names the file and the mistake, if it is missing or damaged, or if a size is missing
    or is no whole number above 0.
    """
    config = read_object(config_json, "name a from_pretrained directory, or state 'shape' in the catalog")
    sizes = dimensions(config, config_json)
    return Shape(
        blocks=sizes.blocks,
        hidden=sizes.hidden,
        ffn=sizes.ffn,
        attention=sizes.attention,
        vocabulary=sizes.vocabulary,
        key_value=sizes.key_value,
        context=sizes.context,
    )


def _check_size(manifest: Manifest, file: Path, expected: int) -> None:
    actual = f"{file.stat().st_size} bytes" if file.is_file() else "missing"
    if actual != f"{expected} bytes":
        raise PrunebenchError(f"{file} {_changed(manifest, f'expected {expected} bytes, found {actual}')}")


def _changed(manifest: Manifest, difference: str) -> str:
    """The end of a message on a file of an asset."""
    rule = "fetch_corpus" if manifest.documents else "fetch_tasks" if manifest.rows else "fetch_model"
    return f"of '{manifest.title}' has changed: {difference}. Run snakemake --forcerun {rule}"
