"""Stage fetch_corpus: turn a catalog entry into a file for each split (calibration, tuning, test; or training)."""

import logging
from collections.abc import Mapping
from pathlib import Path

from prunebench.assets.corpora import Split, split_by_hash, split_by_position, split_path, write_splits
from prunebench.assets.manifest import Manifest, describe_files, write_manifest
from prunebench.assets.requests import read_passages
from prunebench.assets.sources import local_files, local_path, materialise
from prunebench.assets.splits import write_own_splits
from prunebench.assets.texts import COLUMN, own_documents, read_documents
from prunebench.config.entries import CorpusEntry
from prunebench.config.sources import GeneratedSource, HubCorpusSource, PackageSource, PairsSource, PathSource
from prunebench.errors import PrunebenchError
from prunebench.identity.canonical import spec_hash
from prunebench.plan.jobs.assets import FetchCorpusSpec
from prunebench.storage.staging import empty_directory, staging

log = logging.getLogger("prunebench")


def fetch_corpus(spec: str, *, asset: Path) -> None:
    """Fetch the corpus that `spec` (canonical JSON) describes, cut it into splits, and write `asset` (asset.json) last.

    A corpus for evaluation with too few documents for three splits is cut by position, and asset.json says so.
    Raises PrunebenchError if it cannot be fetched, holds no documents, or cannot be cut.
    """
    settings = FetchCorpusSpec.model_validate_json(spec)
    entry = settings.entry
    dest = asset.parent
    empty_directory(dest)
    by_position = False
    if isinstance(entry.source, HubCorpusSource):
        counts = _fetch_splits(entry, entry.source, dest)
    else:
        assert not isinstance(entry.source, GeneratedSource | PairsSource)  # there is no such text to fetch
        documents = _documents(entry, entry.source, dest)
        splits, by_position = _split(entry, documents)
        counts = write_splits(splits, dest)
    manifest = Manifest(
        spec_hash=spec_hash(spec),
        title=entry.title,
        directory=Path(),
        files=describe_files(split_path(dest, split) for split in counts),
        source=entry.source,
        documents={split: count for split, count in counts.items()},
        split_by="position" if by_position else None,
        test_windows=entry.test_windows,
    )
    settings.check(local_files(entry.source))
    write_manifest(manifest, dest)


def _documents(entry: CorpusEntry, source: PackageSource | PathSource, dest: Path) -> list[str]:
    """Read all documents of a source that has no splits of its own."""
    if entry.documents == "auto" and isinstance(source, PathSource):
        return own_documents(local_path(source), entry.column)
    with staging(dest, "text") as scratch:
        return [document for file in materialise(source, scratch) for document in _read(file, entry)]


def _read(file: Path, entry: CorpusEntry) -> list[str]:
    if entry.documents == "requests":
        return read_passages(file)
    assert entry.documents is not None  # all texts that are fetched have it
    return read_documents(file, entry.documents, entry.column or COLUMN)


def _split(entry: CorpusEntry, documents: list[str]) -> tuple[Mapping[Split, list[str]], bool]:
    """Split `documents`; also says whether they were cut by position, because the hash leaves a split empty."""
    if entry.use != "evaluation":
        return {entry.use: documents}, False
    splits = split_by_hash(documents)
    empty = [split for split, texts in splits.items() if not texts]
    if not empty:
        return splits, False
    few = f"'{entry.title}' has {len(documents)} document{'s' * (len(documents) > 1)}, none for {' and '.join(empty)}"
    try:
        splits = split_by_position(documents)
    except PrunebenchError as error:
        raise PrunebenchError(
            f"{few}, and as one text {error}: give it more documents, or say 'use: calibration'"
        ) from None
    log.info("%s: cut by position instead, 60%% calibration, 20%% tuning, 20%% test", few)
    return splits, True


def _fetch_splits(entry: CorpusEntry, source: HubCorpusSource, dest: Path) -> dict[Split, int]:
    # Only this source needs the import.
    from prunebench.assets.hub import fetch

    files = fetch(source, dest, [path for paths in source.files.values() for path in paths])
    return write_own_splits(
        entry, {split: [files[path] for path in paths] for split, paths in source.files.items()}, dest
    )
