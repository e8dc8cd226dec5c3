"""A hub on this machine: what huggingface_hub asks of the real one over HTTP, so that only the endpoint differs.

Repositories are dictionaries of bytes. `faults` makes it misbehave: cut bodies, wrong content, answers of 503.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

Kind = Literal["models", "datasets"]
TOKEN = "hf_tokenThatMayReadGatedRepositories"
OTHER_TOKEN = "hf_tokenOfSomebodyElse"
LARGE = (".safetensors", ".bin", ".parquet", ".gz")
"""The suffixes of files that are stored outside git, so that a redirect to another host serves them."""


def git_blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def etag(path: str, content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if path.endswith(LARGE) else git_blob_id(content)


@dataclass
class Repository:
    """The commits of a repository, and the commits that its branches and tags stand for."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False

    def commit(self, revision: str) -> str | None:
        commit = self.revisions.get(revision, revision)
        return commit if commit in self.commits else None


@dataclass
class Faults:
    """The faults that the hub makes from now on, by path in a repository."""

    cut: dict[str, int] = field(default_factory=dict)
    """The number of further downloads of a file that end after half of the bytes that were asked for."""
    short: set[str] = field(default_factory=set)
    """Files of which half is sent as if it were all."""
    other: dict[str, bytes] = field(default_factory=dict)
    """Content that is sent in place of the file."""
    down: bool = False
    """Whether the hub answers every request with 503."""
    uploads: int | None = None
    """The number of large files that the hub still takes before it answers 500."""


class HubServer:
    """Serves on free ports of 127.0.0.1 until `stop`."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[Kind, str], Repository] = {}
        self.faults = Faults()
        self.objects: dict[str, bytes] = {}
        """The large files that were uploaded, by SHA-256."""
        self.requests: list[tuple[str, str, str | None]] = []
        """The tuple (method, path, range) of every request."""
        server = self

        class Handler(_Handler):
            hub = server

        # The second one stands for where large files are stored: another port is another host to a client.
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
        for http in self._servers:
            threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.endpoint, self.storage = (f"http://127.0.0.1:{http.server_address[1]}" for http in self._servers)

    def stop(self) -> None:
        for http in self._servers:
            http.shutdown()
            http.server_close()

    def add(
        self, kind: Kind, name: str, files: Mapping[str, bytes], revision: str = "main", *, gated: bool = False
    ) -> str:
        """Commit `files` as `revision` (a branch, a tag, refs/..., or the commit's own 40 digits); the commit."""
        repository = self.repositories.setdefault((kind, name), Repository())
        repository.gated = gated
        content = json.dumps({path: etag(path, data) for path, data in files.items()}, sort_keys=True)
        is_commit = len(revision) == 40 and set(revision) <= set("0123456789abcdef")
        commit = revision if is_commit else hashlib.sha1(f"{name} {content}".encode()).hexdigest()
        repository.commits[commit] = dict(files)
        repository.revisions["main" if is_commit else revision] = commit
        return commit

    def downloads(self) -> list[str]:
        """The paths of all requests for content so far."""
        return [path for method, path, _ in self.requests if method == "GET" and not path.startswith("/api/")]

    def environment(self, cache: Path, token: str | None = None) -> dict[str, str]:
        """The environment variables with which a process uses this hub, with a cache and a token of its own."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(cache),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": token or "",
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def connect(self, monkeypatch: pytest.MonkeyPatch, cache: Path, token: str | None = None) -> None:
        """Make this process use this hub, with a cache and a token of its own."""
        # All read from the environment when huggingface_hub was imported.
        template = self.endpoint + constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", self.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        # Uploads go by the older of two ways, which plain HTTP can answer.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
        monkeypatch.setenv("HF_TOKEN", token or "")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@contextmanager
def serving() -> Iterator[HubServer]:
    """A hub without repositories, stopped at the end."""
    hub = HubServer()
    try:
        yield hub
    finally:
        hub.stop()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(send_body=True)

    def do_HEAD(self) -> None:
        self._answer(send_body=False)

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append((self.command, path, None))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if self.hub.faults.down:
            self._send(503, b"", {})
        elif parts == ["api", "validate-yaml"]:
            self._json(200, {"errors": [], "warnings": []})
        elif self._token() != TOKEN:
            self._json(403 if self._token() else 401, {"error": "this token may not write"})
        elif parts == ["api", "repos", "create"]:
            self._create(json.loads(body))
        elif "preupload" in parts:
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = {path: "lfs" if path.endswith(LARGE) else "regular" for path in files}
            self._json(200, {"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]})
        elif parts[-1] == "batch":
            self._batch(json.loads(body))
        else:
            self._commit("/".join(parts[2:4]), [json.loads(line) for line in body.splitlines()])

    def do_PUT(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append((self.command, path, None))
        # huggingface_hub streams files, in pieces that state their sizes.
        body = (
            self._chunks()
            if "Content-Length" not in self.headers
            else self.rfile.read(int(self.headers["Content-Length"]))
        )
        if self.hub.faults.uploads is not None:
            self.hub.faults.uploads -= 1
            if self.hub.faults.uploads < 0:
                self._send(400, b"", {})
                return
        self.hub.objects[path.rpartition("/")[2]] = body
        self._send(200, b"", {})

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _json(self, status: int, answer: Any) -> None:
        self._send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        there = ("models", name) in self.hub.repositories
        if not there:
            self.hub.add("models", name, {})
            self.hub.repositories["models", name].private = asked.get("visibility") == "private"
        self._json(409 if there else 200, {"url": f"{self.hub.endpoint}/{name}"})

    def _batch(self, asked: dict[str, Any]) -> None:
        def answer(entry: dict[str, Any]) -> dict[str, Any]:
            place = {"href": f"{self.hub.storage}/upload/{entry['oid']}"}
            return entry if entry["oid"] in self.hub.objects else {**entry, "actions": {"upload": place}}

        self._json(200, {"transfer": "basic", "objects": [answer(entry) for entry in asked["objects"]]})

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        repository = self.hub.repositories["models", name]
        files = dict(repository.commits[repository.revisions["main"]])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
        commit = self.hub.add("models", name, files)
        self._json(200, {"commitUrl": f"{self.hub.endpoint}/{name}/commit/{commit}", "commitOid": commit})

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, *, send_body: bool) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        if self.hub.faults.down:
            self._send(503, b"", {})
            return
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[0] == "api":
            self._info(parts[1], parts[2:])
        elif parts[0] == "cdn":
            self._content(*parts[1:4], "/".join(parts[4:]), send_body=send_body)
        else:
            kind = "datasets" if parts[0] == "datasets" else "models"
            self._resolve(kind, parts[kind == "datasets" :], send_body=send_body)

    def _find(self, kind: Any, name: str, revision: str) -> tuple[Repository, str] | None:
        """The repository and commit; None if the answer is sent that there is none."""
        repository = self.hub.repositories.get((kind, name))
        if repository is None:
            # The hub does not tell strangers what there is.
            status = 404 if self._token() else 401
            self._send(status, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
            return None
        commit = repository.commit(revision)
        if commit is None:
            message = f"Invalid rev id: {revision}"
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": message})
            return None
        return repository, commit

    def _token(self) -> str:
        return str(self.headers.get("Authorization", "")).removeprefix("Bearer ")

    def _info(self, kind: str, parts: list[str]) -> None:
        """/api/KIND/OWNER/NAME, and below it /revision/REVISION or /tree/REVISION."""
        name, rest = "/".join(parts[:2]), parts[2:]
        found = self._find(kind, name, "/".join(rest[1:]) or "main")
        if found is None:
            return
        repository, commit = found
        files = repository.commits[commit]
        if rest[:1] == ["tree"]:
            answer: Any = [
                {"type": "file", "path": path, "size": len(data), "oid": git_blob_id(data)}
                for path, data in files.items()
            ]
        else:
            answer = {
                "id": name,
                "sha": commit,
                "private": repository.private,
                "gated": "manual" if repository.gated else False,
                "siblings": [{"rfilename": path} for path in files],
            }
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _resolve(self, kind: Kind, parts: list[str], *, send_body: bool) -> None:
        """OWNER/NAME/resolve/REVISION/PATH."""
        name, revision, path = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
        found = self._find(kind, name, revision)
        if found is None:
            return
        repository, commit = found
        if repository.gated and self._token() != TOKEN:
            message = f"Access to {kind} {name} is restricted."
            status = 403 if self._token() else 401
            self._send(status, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": message})
            return
        content = repository.commits[commit].get(path)
        headers = {"X-Repo-Commit": commit}
        if content is None:
            self._send(404, b"", headers | {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
            return
        if path.endswith(LARGE):
            location = f"{self.hub.storage}/cdn/{kind}/{name.replace('/', '--')}/{commit}/{path}"
            headers |= {"X-Linked-Etag": f'"{etag(path, content)}"', "X-Linked-Size": str(len(content))}
            self._send(302, b"", headers | {"Location": location})
            return
        self._body(path, content, headers | {"ETag": f'"{etag(path, content)}"'}, send_body=send_body)

    def _content(self, kind: str, name: str, commit: str, path: str, *, send_body: bool) -> None:
        repository = self.hub.repositories[kind, name.replace("--", "/")]  # type: ignore[index]
        self._body(path, repository.commits[commit][path], {}, send_body=send_body)

    def _body(self, path: str, content: bytes, headers: dict[str, str], *, send_body: bool) -> None:
        faults = self.hub.faults
        content = faults.other.get(path, content)
        wanted = self.headers.get("Range")
        status, part = 200, content
        if wanted:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
            status, part = 206, content[start:]
            headers = {**headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        if path in faults.short:
            part = part[: len(part) // 2]
        size = len(part)
        if send_body and faults.cut.get(path, 0):
            faults.cut[path] -= 1
            part = part[: size // 2]
            self.close_connection = True
        self._send(status, part if send_body else b"", {**headers, "Accept-Ranges": "bytes"}, size=size)

    def _send(self, status: int, body: bytes, headers: dict[str, str], size: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if size is None else size))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
