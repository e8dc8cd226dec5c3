"""Files of repositories on the Hugging Face hub: lists of them, and downloads.

Downloads go through huggingface_hub into its cache ($HF_HOME, shared by all projects and tools of a user): a cached
file is not fetched again, a broken connection is resumed, a killed job keeps every finished file. Each file is checked
against the digest that the hub states for it.
"""

import fnmatch
import hashlib
import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.file_download import repo_folder_name

from prunebench.assets.hub_errors import HubUnavailableError, explained, page
from prunebench.assets.manifest import Arrival, arrival_path, load_arrival, read_shape, write_arrival
from prunebench.assets.titles import SHORT
from prunebench.config.sources import HubCorpusSource, HubModelSource, HubSource
from prunebench.errors import PrunebenchError
from prunebench.names import is_inner_path, is_plain_name
from prunebench.registry import did_you_mean
from prunebench.storage.files import read_object, sha256_file, write_text
from prunebench.storage.layout import CONFIG, TEMPLATES, check_config, family_of

# httpx logs a line for every request.
logging.getLogger("httpx2").setLevel(logging.WARNING)

BESIDE_WEIGHTS = (
    CONFIG,
    "generation_config.json",
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.*",
    "preprocessor_config.json",
    "processor_config.json",
    "LICEN[CS]E*",
    "NOTICE*",
    "USE_POLICY*",
    f"{TEMPLATES}/*.jinja",
)
"""Patterns of paths in the repository of the files of a model besides its weights."""
WEIGHTS = {"safetensors": "model.safetensors", "pytorch": "pytorch_model.bin"}
"""The file of all weights, by format; if there are several files, `<this>.index.json` names them."""
SHA256_DIGITS = 64


@dataclass(frozen=True)
class Repository:
    """One repository at one commit."""

    source: HubSource
    commit: str
    paths: tuple[str, ...]
    """The paths of all files."""

    @classmethod
    def look_up(cls, source: HubSource) -> "Repository":
        """Look up `source` on the hub. Raises PrunebenchError if it has no such revision, or does not answer.

        If HF_HUB_OFFLINE is set and huggingface_hub's cache has files of this revision, the repository is these files.
        """
        if constants.HF_HUB_OFFLINE and (cached := Cached.find(source)):
            return cached
        with explained(source):
            api = HfApi(endpoint=constants.ENDPOINT)
            info = (
                api.model_info(source.repo, revision=source.revision)
                if source.repo_type == "model"
                else api.dataset_info(source.repo, revision=source.revision)
            )
        return cls(source, str(info.sha), tuple(sibling.rfilename for sibling in info.siblings or ()))

    def digest(self, path: str) -> str:
        """The hub's own digest of a file: its SHA-256, or for a small file git's blob id. Only headers are fetched.

        Raises PrunebenchError if there is no such file, or if the repository is gated: the hub lists the files of a
        gated repository to everybody, and asks for consent or a token only here.
        """
        if not is_inner_path(path):
            raise PrunebenchError(
                f"{self.source.repo} names the file {path!r} at {self.source.revision}: only files inside a repository "
                "are fetched"
            )
        if path not in self.paths:
            hint = did_you_mean(path, self.paths, list_all=False) or f": it has {len(self.paths)} others"
            raise PrunebenchError(f"{self.source.repo} has no file {path} at {self.source.revision}{hint}")
        with explained(self.source):
            url = hf_hub_url(
                self.source.repo,
                path,
                repo_type=self.source.repo_type,
                revision=self.commit,
                endpoint=constants.ENDPOINT,
            )
            etag = get_hf_file_metadata(url).etag
        if etag is None:
            raise PrunebenchError(f"{constants.ENDPOINT} states no digest (ETag) of {path}, as a hub would")
        return etag

    def bring(self, path: str, digest: str) -> Path:
        """The file in huggingface_hub's cache, downloaded if needed. PrunebenchError if its digest is not `digest`."""
        file = self._brought(path)
        if (actual := _digest(file, digest)) != digest:
            file.unlink()  # so that it is downloaded again
            raise PrunebenchError(
                f"{path} from {self.source.repo} is not the file that the hub states\n  expected {digest}\n"
                f"  actual   {actual}\nIt is removed from the cache {constants.HF_HUB_CACHE}: run again"
            )
        return file

    def _brought(self, path: str) -> Path:
        with explained(self.source):
            api, repo_type = HfApi(endpoint=constants.ENDPOINT), self.source.repo_type
            cached = api.hf_hub_download(self.source.repo, path, repo_type=repo_type, revision=self.commit)
        return Path(cached).resolve()


@dataclass(frozen=True)
class Cached(Repository):
    """The files of a repository that are in huggingface_hub's cache, for which the hub is not asked."""

    snapshot: Path
    """The cache's directory of links to the files of one commit. Each links to a file that its digest names."""

    @classmethod
    def find(cls, source: HubSource) -> "Cached | None":
        """Find the files of `source` in the cache. None if it does not know the revision, or has no file of it."""
        folder = _cache_of(source)
        reference = folder / "refs" / source.revision
        commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else source.revision
        snapshot = folder / "snapshots" / commit
        paths = tuple(sorted(file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*") if file.is_file()))
        return cls(source, commit, paths, snapshot) if paths else None

    def digest(self, path: str) -> str:
        """The digest of a file, for which its name in the cache stands. PrunebenchError if the file is not there."""
        if path not in self.paths:
            raise PrunebenchError(self.absent(path))
        file = self.snapshot / path
        return file.resolve().name if file.is_symlink() else sha256_file(file)

    def absent(self, path: str) -> str:
        """Say that a file is not in the cache, and what to do."""
        return (
            f"the hub may not be asked (HF_HUB_OFFLINE), and its cache {constants.HF_HUB_CACHE} has no {path} of "
            f"{self.source.repo} at {self.source.revision}: unset HF_HUB_OFFLINE where this runs, or fetch it first"
        )

    def _brought(self, path: str) -> Path:
        return (self.snapshot / path).resolve()


def _cache_of(source: HubSource) -> Path:
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=source.repo, repo_type=source.repo_type)


def _noted(source: HubSource) -> Repository:
    """Look up `source`, and note its commit in huggingface_hub's cache, so that `Cached` finds the revision there."""
    repository = Repository.look_up(source)
    if not isinstance(repository, Cached) and source.revision != repository.commit:
        write_text(_cache_of(source) / "refs" / source.revision, repository.commit)
    return repository


def pinned(repo: str, revision: str = "main") -> HubModelSource:
    """Return the model `repo` at the commit that `revision` names now, with the format in which its weights are.

    Raises PrunebenchError if the hub has no such revision, does not answer, or has no weights that can be read.
    """
    source = HubModelSource(kind="hub", repo=repo, revision=revision)
    repository = _noted(source)
    formats = [weights for weights, file in WEIGHTS.items() if {file, f"{file}.index.json"} & set(repository.paths)]
    present = source.model_copy(update={"weights": formats[0]}) if formats else source
    model_paths(replace(repository, source=present))
    return present.model_copy(update={"revision": repository.commit})


def described(source: HubModelSource) -> dict[str, Any]:
    """Make a catalog entry for the model `source` from its config.json, which the cache has or the hub gives.

    Raises PrunebenchError if it cannot be fetched, or describes a model that cannot be pruned.
    """
    repository: Repository | None = Cached.find(source)
    if repository is None or CONFIG not in repository.paths:
        repository = _noted(source)
    file = repository.bring(CONFIG, repository.digest(CONFIG))
    check_config(file, source.repo)
    shape = read_shape(file)
    sizes = {name: getattr(shape, name) for name in type(shape).model_fields}
    return {
        "title": source.repo if source.revision == "main" else f"{source.repo} ({source.revision[:SHORT]})",
        "family": family_of(source.repo, read_object(file)).name,
        "source": source.model_dump(),
        "shape": {name: size for name, size in sizes.items() if size is not None},
    }


def fetch(source: HubSource, dest: Path, paths: Collection[str] = (), *, family: str | None = None) -> dict[str, Path]:
    """Bring `paths` of the repository, by default the files of a model, into the cache; return path -> file.

    A model must be read by `family`, if one is named. The digests are noted beside `dest` (`arrival_path`), so that a
    revision that moves later is noticed.
    Raises PrunebenchError, without half a file or a note, if a file is missing, damaged, forbidden or changed.
    """
    repository = Repository.look_up(source)
    digests = {path: repository.digest(path) for path in paths or model_paths(repository)}
    arrival = Arrival(repo=source.repo, revision=source.revision, commit=repository.commit, digests=digests)
    check_unchanged(arrival, dest)
    if isinstance(source, HubModelSource):
        # The config is checked before gigabytes of weights are fetched.
        check_config(repository.bring(CONFIG, digests[CONFIG]), source.repo, family)
    files = {path: repository.bring(path, digest) for path, digest in digests.items()}
    write_arrival(arrival, dest)
    return files


def fetch_model(source: HubModelSource, dest: Path, family: str) -> None:
    """Make `dest` a `from_pretrained` directory of links to a model's files; pickled weights are converted.

    Raises PrunebenchError, before the weights are fetched, if `family` does not read the model.
    """
    files = fetch(source, dest, family=family)
    dest.mkdir(parents=True, exist_ok=True)
    if source.weights == "pytorch":
        from prunebench.assets.pytorch import convert_pytorch

        stored = {path: files.pop(path) for path in list(files) if path.startswith("pytorch_model")}
        convert_pytorch([file for path, file in stored.items() if path.endswith(".bin")], dest)
    for path, file in files.items():
        (dest / path).parent.mkdir(parents=True, exist_ok=True)
        (dest / path).symlink_to(file)


def model_paths(repository: Repository) -> list[str]:
    """The paths of a model's files. The index of its shards is downloaded if there is one.

    Raises PrunebenchError if there is no config, or only weights of another format.
    """
    source = repository.source
    assert isinstance(source, HubModelSource)
    top = [path for path in repository.paths if _is_beside_weights(path)]
    whole = WEIGHTS[source.weights]
    index = f"{whole}.index.json"
    if CONFIG not in top:
        raise PrunebenchError(f"{source.repo} has no {CONFIG} at {source.revision}: it is not a model for transformers")
    if whole in repository.paths:
        return [*top, whole]
    if index in repository.paths:
        shards = read_object(repository.bring(index, repository.digest(index))).get("weight_map")
        if not isinstance(shards, dict) or not all(map(is_plain_name, shards.values())) or not shards:
            raise PrunebenchError(
                f"{index} of {source.repo} at {source.revision} names no shards, or files elsewhere: it is damaged"
            )
        return [*top, index, *sorted(set(shards.values()))]
    if isinstance(repository, Cached):
        raise PrunebenchError(repository.absent(whole))
    others = [path for path in repository.paths if path.endswith((".bin", ".safetensors", ".pth", ".msgpack", ".h5"))]
    advice = (
        "name a revision that has them, as conversion pull requests do (revision: refs/pr/N; they are listed on "
        f"{page(source)}/discussions)"
    )
    if any(path.startswith("pytorch_model") for path in others):
        advice += ", or set 'weights: pytorch' to have them converted on arrival"
    raise PrunebenchError(
        f"{source.repo} has no {whole} and no {index} at {source.revision} "
        f"(it has: {', '.join(others) or 'no weights'}): {advice}"
    )


def _is_beside_weights(path: str) -> bool:
    # A star in a pattern must not match a directory.
    return any(path.count("/") == name.count("/") and fnmatch.fnmatchcase(path, name) for name in BESIDE_WEIGHTS)


def check_unchanged(arrival: Arrival, dest: Path) -> None:
    """Raise PrunebenchError if `dest` was fetched before from another commit or content of the same revision."""
    before = load_arrival(dest)
    if before is None or (before.repo, before.revision) != (arrival.repo, arrival.revision):
        return
    changed = [path for path, digest in arrival.digests.items() if before.digests.get(path, digest) != digest]
    if before.commit == arrival.commit and not changed:
        return
    name = f"{arrival.repo} at {arrival.revision}"
    which = f" (changed: {', '.join(changed)})" if changed else ""
    if before.commit != arrival.commit:
        what = f"{name} is another one than before{which}\n  before {before.commit}\n  now    {arrival.commit}\n"
        advice = f"To keep what results on disk were made from, set 'revision: {before.commit}'; to take the new one"
    else:
        what = f"{name} has other content than before, which a hub does not do{which}\n"
        advice = f"Look at what HF_ENDPOINT ({constants.ENDPOINT}) serves; to take it all the same"
    raise PrunebenchError(f"{what}{advice}, delete {arrival_path(dest)}")


def check_access(source: HubSource, paths: Collection[str] = ()) -> str | None:
    """Why `source` could not be fetched, or None. Only names and headers are read, no file is downloaded.

    For a model only its config is checked; `paths` are the files of a source that does not name them itself.
    Raises HubUnavailableError if the hub cannot be asked.
    """
    try:
        repository = Repository.look_up(source)
        if isinstance(source, HubModelSource):
            # The shards in an index are known only after a download, so they are not checked.
            if f"{WEIGHTS[source.weights]}.index.json" not in repository.paths:
                model_paths(repository)
            paths = [CONFIG]
        elif isinstance(source, HubCorpusSource):
            paths = [path for files in source.files.values() for path in files]
        for path in paths:
            repository.digest(path)
    except HubUnavailableError:
        raise
    except PrunebenchError as error:
        return str(error)
    return None


def _digest(file: Path, like: str) -> str:
    """The digest of a file in the form of `like`: SHA-256, or git's blob id."""
    if len(like) == SHA256_DIGITS:
        return sha256_file(file)
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
