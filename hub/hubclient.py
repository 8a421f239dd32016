"""The real ``huggingface_hub`` client, set up so that it neither hangs nor prints, and its errors in our words."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..core.api import FineTUIError, NetworkError, NotFound, TokenError, WorkFailed
from ..core.catalog.digest import sha256_file
from ..core.fsio import disk_errors

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

T = TypeVar("T")

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 120.0
"""The client's own default is to wait for ever; a commit of many files takes the Hub some time."""

TRIES = 3

_BLOCK = 1 << 20


def open_client() -> HfApi:
    """The client for ``HF_ENDPOINT``, with timeouts, without progress bars and telemetry.

    Plain HTTP instead of Xet unless the user decided otherwise: Xet has no fallback when a server lacks it, and no timeout.
    """
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET"):
        os.environ.setdefault(name, "1")
    import httpx2
    from huggingface_hub import HfApi, set_client_factory
    from huggingface_hub.utils import disable_progress_bars
    from huggingface_hub.utils._http import hf_request_event_hook

    timeout = httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    set_client_factory(lambda: httpx2.Client(event_hooks={"request": [hf_request_event_hook]}, follow_redirects=True, timeout=timeout))
    disable_progress_bars()
    return HfApi()


def open_answering_client() -> HfApi:
    """The client for what somebody waits for: it fails at once where nothing answers, and warns of nothing.

    The client's own calls try again for half a minute, and say so on stderr, which is where a screen is drawn.
    """
    import logging

    api = open_client()
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not constants.HF_HUB_OFFLINE:
        get_session().head(api.endpoint)
    return api


def require_token() -> str:
    """The user's token: ``HF_TOKEN``, else that of ``hf auth login``.

    Raises:
        TokenError: there is none.
    """
    from huggingface_hub import get_token

    token = get_token()
    if not token:
        raise TokenError("no Hugging Face token", "run `hf auth login`, or set HF_TOKEN to a token with write access")
    return token


@contextlib.contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Turn the client's errors into ours; ``what`` names the repository in the message. The token is never repeated."""
    try:
        yield
    except FineTUIError:
        raise
    except Exception as problem:
        cause = _unwrapped(problem)
        known = translate(cause, what)
        if known is not None:
            raise known from None
        if cause is not problem:
            raise cause from None
        raise


def _unwrapped(problem: BaseException) -> BaseException:
    """What really went wrong: the client wraps errors of uploads and downloads in others that say less."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    if isinstance(problem, (RuntimeError, ValueError, LocalEntryNotFoundError)) and problem.__cause__ is not None:
        return _unwrapped(problem.__cause__)
    return problem


def translate(problem: BaseException, what: str) -> FineTUIError | None:
    """The error of our family that an exception of the client amounts to; nothing for what does not come from it."""
    import httpx2
    from huggingface_hub import errors

    problem = _unwrapped(problem)
    if isinstance(problem, errors.OfflineModeIsEnabled):
        return NetworkError(f"{what}: the network is switched off", "unset HF_HUB_OFFLINE")
    if isinstance(problem, errors.HfHubHTTPError):
        return _from_answer(problem, what)
    if isinstance(problem, errors.LocalTokenNotFoundError):
        return TokenError(f"{what}: no Hugging Face token", "run `hf auth login`, or set HF_TOKEN")
    if isinstance(problem, errors.LocalEntryNotFoundError):
        return NetworkError(f"{what}: cannot be reached", _NETWORK_HINT)
    if isinstance(problem, httpx2.TimeoutException):
        return NetworkError(f"{what}: {_endpoint()} did not answer in time", "try again")
    if isinstance(problem, (httpx2.HTTPError, ConnectionError)):
        return NetworkError(f"{what}: cannot reach {_endpoint()} ({_scrubbed(problem)})", _NETWORK_HINT)
    if isinstance(problem, errors.HFValidationError):
        return NotFound(f"{what}: {_scrubbed(problem)}")
    if isinstance(problem, (errors.FileMetadataError, ValueError)):
        return WorkFailed(f"{what}: {_endpoint()} gave an answer that was not understood: {_scrubbed(problem)}")
    if isinstance(problem, OSError) and "Consistency check failed" in str(problem):
        return NetworkError(f"{what}: a download broke off", "try again")
    return None


_NETWORK_HINT = "check the network, the proxy (HTTPS_PROXY) and HF_ENDPOINT, then try again"


def _from_answer(problem: Any, what: str) -> FineTUIError:
    from huggingface_hub import errors

    status = problem.response.status_code
    if isinstance(problem, errors.GatedRepoError):
        return TokenError(f"{what} is gated: your account may not read it yet", f"accept its terms at {_endpoint()}/{what}")
    if status == 401 and not isinstance(problem, errors.RepositoryNotFoundError):
        return TokenError(f"{what}: {_endpoint()} refuses the token", "run `hf auth login`, or set HF_TOKEN to a valid token")
    if isinstance(problem, errors.RevisionNotFoundError):
        return NotFound(f"{what}: no such revision", f"see {_endpoint()}/{what.partition('@')[0]}/commits/main")
    if isinstance(problem, (errors.RepositoryNotFoundError, errors.EntryNotFoundError)):
        return NotFound(f"{what} is not on {_endpoint()}", "check the name; a private repository needs a token that may read it")
    if status == 403:
        return TokenError(f"{what}: the token may not do this ({_said(problem)})", "use a token with write access to this namespace")
    if status == 429:
        return NetworkError(f"{what}: too many requests", "wait a few minutes, then try again")
    if status >= 500:
        return NetworkError(f"{what}: {_endpoint()} answered {status}", "the service has a problem; try again later")
    return WorkFailed(f"{what}: {_endpoint()} answered {status}: {_said(problem)}")


def _said(problem: Any) -> str:
    return _scrub(problem.server_message or problem.response.headers.get("X-Error-Message") or "no reason given")


def _scrubbed(problem: BaseException) -> str:
    text = str(problem).strip().splitlines()
    return _scrub(text[0] if text else type(problem).__name__)


def _scrub(text: str) -> str:
    from huggingface_hub import get_token

    token = get_token()
    return text.replace(token, "***") if token else text


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


def url_of(repo: str) -> str:
    """The repository's page."""
    return f"{_endpoint()}/{repo}"


class ByteCounter:
    """Stands in for the client's progress bar of one download and reports bytes instead of drawing."""

    def __init__(self, report: Callable[[int], None], **bar: Any) -> None:
        self.done = int(bar.get("initial") or 0)
        self._report = report

    def update(self, count: float | None = 1) -> None:
        """``count`` more bytes are here."""
        self.done += int(count or 0)
        self._report(self.done)

    def __enter__(self) -> ByteCounter:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""


def again(call: Callable[[], T], what: str) -> T:
    """Repeat a reading call that failed for a passing reason, after a pause."""
    for attempt in range(TRIES - 1):
        try:
            return call()
        except Exception as problem:
            if not isinstance(translate(problem, what), NetworkError):
                raise
            time.sleep(0.5 * 2**attempt)
    return call()


def git_blob_id(path: Path) -> str:
    """The id git gives a file's content: sha1 over ``blob <size>\\0`` and the content."""
    hasher = hashlib.sha1(usedforsecurity=False)
    with disk_errors(path), open(path, "rb") as file:
        hasher.update(f"blob {os.fstat(file.fileno()).st_size}\0".encode())
        while block := file.read(_BLOCK):
            hasher.update(block)
    return hasher.hexdigest()


def is_same(path: Path, remote: RepoFile) -> bool:
    """Whether a local file is what the Hub lists: size, and sha256 for large files, git blob id for the others."""
    if path.stat().st_size != remote.size:
        return False
    if remote.lfs is not None:
        return sha256_file(path) == remote.lfs.sha256
    return git_blob_id(path) == remote.blob_id


def list_files(api: HfApi, repo: str, revision: str) -> dict[str, RepoFile]:
    """Every file of a repository at a revision, by path."""
    from huggingface_hub.hf_api import RepoFile

    return {item.path: item for item in api.list_repo_tree(repo, recursive=True, revision=revision) if isinstance(item, RepoFile)}
