"""Rule fetch_corpus: a catalog entry -> calibration.jsonl, tuning.jsonl, test.jsonl and asset.json."""

from pathlib import Path

from pydantic import BaseModel

from prunebench.assets.corpora import SPLITS, read_documents, split_path, write_splits
from prunebench.assets.manifest import Manifest, describe_files, write_manifest
from prunebench.assets.sources import materialise
from prunebench.assets.staging import empty_directory, staging
from prunebench.canonical import spec_hash
from prunebench.catalog import CorpusEntry


class FetchCorpusSpec(BaseModel):
    """The part of the spec that this stage reads."""

    entry: CorpusEntry


def fetch_corpus(spec: str, dest: Path) -> None:
    """Fetch the corpus that `spec` (canonical JSON) describes, cut it into splits, write `dest`/asset.json last.

    Raises PrunebenchError if it cannot be fetched or holds no documents.
    """
    entry = FetchCorpusSpec.model_validate_json(spec).entry
    empty_directory(dest)
    with staging(dest, "text") as scratch:
        files = materialise(entry.source, scratch)
        documents = [document for file in files for document in read_documents(file, entry.documents)]
    counts = write_splits(documents, dest)
    manifest = Manifest(
        spec_hash=spec_hash(spec),
        title=entry.title,
        directory=Path(),
        files=describe_files(split_path(dest, split) for split in SPLITS),
        source=entry.source,
        documents={split: counts[split] for split in SPLITS},
    )
    write_manifest(manifest, dest)
