"""A Hugging Face Hub on loopback: enough of its HTTP protocol for the real, unmodified ``huggingface_hub`` client.

Repositories, commits and large files live in memory. Faults are injected with `HubServer.fail`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

_BLOCK = 1 << 20

Action = Literal["drop", "503", "lost", "flip"]


@dataclass
class Repository:
    """One model repository: every commit is a whole tree of path → content."""

    owner: str
    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    gated: bool = False
    downloads: int = 0
    likes: int = 0

    def commit(self, branch: str, files: dict[str, bytes], message: str) -> str:
        """Add a commit whose tree is ``files``; returns its id."""
        oid = hashlib.sha1(f"{len(self.commits)} {message} {sorted(files)}".encode()).hexdigest()
        self.commits[oid] = dict(files)
        self.branches[branch] = oid
        self.messages.append(message)
        return oid

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch, or a commit's id, stands for."""
        if revision in self.branches:
            return self.branches[revision]
        return revision if revision in self.commits else None

    @property
    def files(self) -> dict[str, bytes]:
        """The tree of ``main``."""
        return self.commits[self.branches["main"]]


@dataclass
class Fault:
    """What to do wrong with the next ``times`` requests of ``method`` whose path contains ``part``."""

    method: str
    part: str
    action: Action
    times: int


class HubServer:
    """The server; use as a context manager.

    Attributes:
        url: what ``HF_ENDPOINT`` should be.
        tokens: token → user name; all may write to the user's own namespace, but those in ``read_only``.
        requests: ``METHOD path`` of every request, in order.
        bodies: size of what clients sent, by ``METHOD path``.
        pace: seconds to wait after every MiB of a large file, either way.
    """

    def __init__(self) -> None:
        self.tokens: dict[str, str] = {}
        self.read_only: set[str] = set()
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.bodies: dict[str, int] = {}
        self.faults: list[Fault] = []
        self.pace = 0.0
        self.lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def create(self, name: str, files: dict[str, bytes] | None = None, *, private: bool = False, gated: bool = False) -> Repository:
        """Make a repository as if it had been there before."""
        repository = Repository(name.split("/")[0], private, gated=gated)
        repository.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n", **(files or {})}, "initial commit")
        self.repositories[name] = repository
        return repository

    def fail(self, method: str, part: str, action: Action, times: int = 1) -> None:
        """Inject a fault: ``drop`` the connection, answer ``503``, do it but let the answer be ``lost``, ``flip`` a byte sent."""
        self.faults.append(Fault(method, part, action, times))

    def take_fault(self, method: str, path: str) -> Action | None:
        """The fault for this request, used up by one."""
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.method == method and fault.part in path:
                    fault.times -= 1
                    return fault.action
        return None


class _Answer(Exception):
    """Ends a request early with an error status."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def log_message(self, format: str, *_: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    # Frame ---------------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        self.body = self._received(int(self.headers.get("Content-Length") or 0))
        address = urlsplit(self.path)
        self.query = parse_qs(address.query)
        path = unquote(address.path)
        with self.hub.lock:
            self.hub.requests.append(f"{self.command} {path}")
            self.hub.bodies[f"{self.command} {path}"] = len(self.body)
        self.fault = self.hub.take_fault(self.command, path)
        if self.fault == "drop":
            self.close_connection = True
            return
        try:
            if self.fault == "503":
                raise _Answer(503, message="injected")
            with self.hub.lock:
                self._route(path)
        except _Answer as answer:
            self._send(answer.status, {"error": answer.message}, {"X-Error-Code": answer.code, "X-Error-Message": answer.message})

    def _route(self, path: str) -> None:
        for method, pattern, action in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method:
                return action(self, **match.groupdict())
        raise _Answer(404, message=f"no route for {self.command} {path}")

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        if self.fault == "lost":
            self.close_connection = True
            return
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        if self.fault == "flip" and data:
            data = data[:-1] + bytes([data[-1] ^ 1])
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            for start in range(0, len(data), _BLOCK):
                self.wfile.write(data[start : start + _BLOCK])
                self._wait(len(data))

    def _received(self, size: int) -> bytes:
        parts = []
        for start in range(0, size, _BLOCK):
            parts.append(self.rfile.read(min(_BLOCK, size - start)))
            self._wait(size)
        return b"".join(parts)

    def _wait(self, size: int) -> None:
        if size > _BLOCK and self.hub.pace:
            time.sleep(self.hub.pace)

    # Who may do what -----------------------------------------------------------------------------------------------

    def _user(self, required: bool = False) -> str:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not given and not required:
            return ""
        user = self.hub.tokens.get(given)
        if user is None:
            message = "Invalid credentials in Authorization header" if given else "Invalid username or password."
            raise _Answer(401, message=message)
        return user

    def _may_write(self, repo: str) -> str:
        user = self._user(required=True)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo.split("/")[0] != user or token in self.hub.read_only:
            raise _Answer(403, message="You don't have the rights to create or change this repository")
        return user

    def _readable(self, repo: str) -> Repository:
        user = self._user()
        repository = self.hub.repositories.get(repo)
        if repository is None or (repository.private and repository.owner != user):
            raise _Answer(404 if user else 401, "RepoNotFound", "Repository not found")
        return repository

    def _tree(self, repo: str, revision: str) -> tuple[Repository, str]:
        repository = self._readable(repo)
        commit = repository.resolve(revision)
        if commit is None:
            raise _Answer(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repository, commit

    # Routes --------------------------------------------------------------------------------------------------------

    def whoami(self) -> None:
        self._send(200, {"type": "user", "name": self._user(required=True), "orgs": [], "auth": {"type": "access_token"}})

    def auth_check(self, repo: str, write: str | None) -> None:
        self._user(required=True)
        self._readable(repo)
        if write:
            self._may_write(repo)
        self._send(200, {})

    def create_repository(self) -> None:
        asked = json.loads(self.body)
        user = self._user(required=True)
        name = f"{asked.get('organization') or user}/{asked['name']}"
        self._may_write(name)
        if name in self.hub.repositories:
            return self._send(409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"})
        self.hub.create(name, private=asked.get("visibility") == "private" or asked.get("private") is True)
        self._send(200, {"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def info(self, repo: str, revision: str | None) -> None:
        repository, commit = self._tree(repo, revision or "main")
        files = [{"rfilename": path} for path in sorted(repository.commits[commit])]
        self._send(200, {"id": repo, "modelId": repo, "sha": commit, "private": repository.private, "siblings": files, "tags": [],
                         "gated": repository.gated, "disabled": False, "downloads": 0, "likes": 0})  # fmt: skip

    def search(self) -> None:
        """What the search lists: repositories that may be seen, by words in their names and by tags, the most downloaded first."""
        user, rows = self._user(), []
        for name, repository in self.hub.repositories.items():
            tags = _tags(repository.files)
            seen = not repository.private or repository.owner == user
            words = " ".join(self.query.get("search", [])).lower().split()
            if seen and all(word in name.lower() for word in words) and set(self.query.get("filter", [])) <= set(tags):
                rows.append({"id": name, "downloads": repository.downloads, "likes": repository.likes, "tags": tags,
                             "lastModified": "2026-03-01T12:00:00.000Z", "private": repository.private})  # fmt: skip
        rows.sort(key=lambda row: -row["downloads"] if self.query.get("sort") == ["downloads"] else 0)
        self._send(200, rows[: int(self.query.get("limit", ["1000"])[0])])

    def tree(self, repo: str, revision: str) -> None:
        repository, commit = self._tree(repo, revision)
        self._send(200, [_listed(path, content) for path, content in sorted(repository.commits[commit].items())])

    def preupload(self, repo: str, revision: str) -> None:
        self._may_write(repo)
        repository, commit = self._tree(repo, revision)
        rows = []
        for file in json.loads(self.body)["files"]:
            there = repository.commits[commit].get(file["path"])
            oid = _listed(file["path"], there).get("oid") if there is not None else None
            rows.append({"path": file["path"], "uploadMode": _mode(file["path"], file["size"]), "shouldIgnore": False, "oid": oid})
        self._send(200, {"files": rows})

    def lfs_batch(self, repo: str) -> None:
        self._may_write(repo)
        objects = []
        for item in json.loads(self.body)["objects"]:
            row = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.large:
                row["actions"] = {
                    "upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"},
                    "verify": {"href": f"{self.hub.url}/lfs-verify"},
                }
            objects.append(row)
        self._send(200, {"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise _Answer(400, message="content does not match its oid")
        self.hub.large[oid] = self.body
        self._send(200, {})

    def lfs_verify(self) -> None:
        asked = json.loads(self.body)
        if len(self.hub.large.get(asked["oid"], b"")) != asked["size"]:
            raise _Answer(422, message="not uploaded")
        self._send(200, {})

    def branch(self, repo: str, name: str) -> None:
        self._may_write(repo)
        repository, commit = self._tree(repo, "main")
        if name in repository.branches:
            return self._send(409, {"error": "Reference already exists"})
        repository.branches[name] = commit
        self._send(200, {})

    def commit(self, repo: str, revision: str) -> None:
        self._may_write(repo)
        repository, head = self._tree(repo, revision)
        lines = [json.loads(line) for line in self.body.splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit", head) != head:
            raise _Answer(412, message="The expected parent commit is not the branch's head")
        files = dict(repository.commits[head])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.large:
                    raise _Answer(400, message=f"{value['path']}: its content was never uploaded")
                files[value["path"]] = self.hub.large[value["oid"]]
            else:
                raise _Answer(400, message=f"unknown operation {line['key']}")
        answer: dict[str, Any] = {"success": True}
        if self.query.get("create_pr") == ["1"]:
            number = sum(name.startswith("refs/pr/") for name in repository.branches) + 1
            oid = repository.commit(f"refs/pr/{number}", files, header["summary"])
            answer["pullRequestUrl"] = f"{self.hub.url}/{repo}/discussions/{number}"
        else:
            oid = repository.commit(revision, files, header["summary"])
        self._send(200, {**answer, "commitOid": oid, "commitUrl": f"{self.hub.url}/{repo}/commit/{oid}"})

    def validate_yaml(self) -> None:
        self._send(200, {"errors": [], "warnings": []})

    def resolve(self, repo: str, revision: str, path: str) -> None:
        repository, commit = self._tree(repo, revision)
        if repository.gated:
            raise _Answer(403, "GatedRepo", "Access to this model is restricted")
        content = repository.commits[commit].get(path)
        if content is None:
            raise _Answer(404, "EntryNotFound", "Entry not found")
        listed = _listed(path, content)
        etag = listed["lfs"]["oid"] if "lfs" in listed else listed["oid"]
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            return self._send(200, content, headers)
        start, end = int(wanted[1]), int(wanted[2] or len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        self._send(206, content[start : end + 1], headers)


def _tags(files: dict[str, bytes]) -> list[str]:
    """A repository's tags as the Hub makes them of its card: the author's, the library, and the base in three forms."""
    import yaml

    parts = files.get("README.md", b"").decode().split("---\n")
    card = (yaml.safe_load(parts[1]) or {}) if len(parts) > 2 else {}
    base, relation = card.get("base_model"), card.get("base_model_relation", "adapter")
    bases = [f"base_model:{base}", f"base_model:{relation}:{base}"] if base else []
    return list(dict.fromkeys([*filter(None, [card.get("library_name")]), *card.get("tags", []), *bases]))


def _mode(path: str, size: int) -> str:
    return "lfs" if path.endswith(".safetensors") or size > 10_000_000 else "regular"


def _listed(path: str, content: bytes) -> dict[str, Any]:
    row: dict[str, Any] = {"type": "file", "path": path, "size": len(content)}
    if _mode(path, len(content)) == "lfs":
        sha = hashlib.sha256(content).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {len(content)}\n".encode()
        row["lfs"] = {"oid": sha, "size": len(content), "pointerSize": len(pointer)}
        content = pointer
    row["oid"] = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    return row


_REPO = r"(?P<repo>[^/]+/[^/]+)"
_REVISION = r"(?P<revision>refs/pr/\d+|[^/]+)"

_ROUTES: list[tuple[tuple[str, ...], str, Callable[..., None]]] = [
    (("GET",), "/api/whoami-v2", _Handler.whoami),
    (("POST",), "/api/repos/create", _Handler.create_repository),
    (("POST",), "/api/validate-yaml", _Handler.validate_yaml),
    (("GET",), "/api/models", _Handler.search),
    (("GET",), rf"/api/models/{_REPO}/auth-check(?P<write>/write)?", _Handler.auth_check),
    (("GET",), rf"/api/models/{_REPO}(?:/revision/{_REVISION})?", _Handler.info),
    (("GET",), rf"/api/models/{_REPO}/tree/{_REVISION}/?", _Handler.tree),
    (("POST",), rf"/api/models/{_REPO}/preupload/{_REVISION}", _Handler.preupload),
    (("POST",), rf"/api/models/{_REPO}/commit/{_REVISION}", _Handler.commit),
    (("POST",), rf"/api/models/{_REPO}/branch/(?P<name>[^/]+)", _Handler.branch),
    (("POST",), rf"/{_REPO}\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    (("PUT",), r"/lfs/(?P<oid>[0-9a-f]{64})", _Handler.lfs_put),
    (("POST",), "/lfs-verify", _Handler.lfs_verify),
    (("GET", "HEAD"), rf"/{_REPO}/resolve/{_REVISION}/(?P<path>.+)", _Handler.resolve),
]
