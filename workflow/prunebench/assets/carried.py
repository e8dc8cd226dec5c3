"""Puts the files of an asset into one directory, for storage that keeps nothing but what rules declare.

python -m prunebench.assets.carried ASSET_JSON DIRECTORY. On a shared file system the files of an asset lie wherever
they arrived, and asset.json says where. Elsewhere a job gets only its inputs, so the directory is one of them.
"""

import os
import shutil
import sys
from pathlib import Path

from prunebench.assets.manifest import MANIFEST_NAME, load_manifest
from prunebench.storage.sealed import write_record


def carry(asset: Path, directory: Path) -> None:
    """Copy the files of `asset`, an asset.json, and `asset` itself to `directory`; `asset` then names that directory.

    Raises PrunebenchError if the asset is not complete.
    """
    manifest = load_manifest(asset)
    for name in manifest.files:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(manifest.directory / name, directory / name)
    for file in (directory / MANIFEST_NAME, asset):
        place = Path(os.path.relpath(directory, file.parent))
        moved = manifest.model_copy(update={"directory": place})
        write_record(file, moved.model_dump(mode="json", exclude_none=True))


if __name__ == "__main__":
    carry(*map(Path, sys.argv[1:]))
