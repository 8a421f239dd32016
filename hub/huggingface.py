"""The Hugging Face Hub (or a server that speaks its protocol at ``HF_ENDPOINT``), through the ``huggingface_hub`` client."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ..core.api import AdapterHub, CorruptFile, HubContext, NetworkError, NotFound, PushPlan, Refused, Transfer, UnsafeFile, WorkFailed
from ..core.catalog.peftfiles import CONFIG_FILE, WEIGHTS_FILE
from .hubclient import hub_errors, is_same, list_files, open_client, require_token, translate, url_of
from .transfer import is_publishable

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

T = TypeVar("T")

TRIES = 3
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class HuggingFaceHub(AdapterHub):
    """Push: check access, create, check privacy, upload, one commit, compare. Pull: pin the commit, fetch, verify."""

    name: ClassVar[str] = "huggingface"
    title: ClassVar[str] = "Hugging Face Hub"
    summary: ClassVar[str] = "huggingface.co, or the server at HF_ENDPOINT."

    def push(
        self, plan: PushPlan, folder: Path, context: HubContext, *, revision: str = "", pull_request: bool = False, message: str = ""
    ) -> Transfer:
        """See `AdapterHub.push`; ``revision`` is a branch, made when it does not exist."""
        with hub_errors(plan.repo):
            api = open_client()
            require_token()
            repo = _require_repository(api, plan)
            branch = revision or "main"
            if branch != "main":
                api.create_branch(repo, branch=branch, exist_ok=True)
            head = str(api.model_info(repo, revision=branch).sha)
            before = list_files(api, repo, head)
            changed = [file.path for file in plan.files if not _is_there(folder, file.path, before)]
            url, commit = url_of(repo), head
            if changed:
                additions = _upload(api, repo, branch, folder, changed, context, pull_request)
                commit, url = _commit(api, repo, branch, head, additions, folder, plan, message or "Upload adapter", pull_request)
            _require_same(api, repo, commit, folder, plan)
            sent = sum((folder / path).stat().st_size for path in changed)
            return Transfer(repo, commit, tuple(file.path for file in plan.files), sent, url)

    def pull(self, repo: str, revision: str, target: Path, context: HubContext) -> Transfer:
        """See `AdapterHub.pull`; ``revision`` is a branch, tag or commit."""
        what = f"{repo}@{revision}" if revision else repo
        with hub_errors(what):
            api = open_client()
            commit = str(_again(lambda: api.model_info(repo, revision=revision or None), what).sha)
            files = list_files(api, repo, commit)
            wanted = _wanted(files, what)
            total, done = sum(file.size for file in wanted), 0
            for file in wanted:
                _fetch(api, repo, commit, file, target)
                done += file.size
                if context.progress is not None:
                    context.progress(done, total, file.path)
            shutil.rmtree(target / ".cache", ignore_errors=True)
            return Transfer(repo, commit, tuple(file.path for file in wanted), done, url_of(repo))


# Push ----------------------------------------------------------------------------------------------------------------


def _require_repository(api: HfApi, plan: PushPlan) -> str:
    """The full name of a repository that may be written and is as private as asked for; created when it is not there.

    Raises:
        Refused: it exists and is public although ``plan.private``.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    repo = plan.repo if "/" in plan.repo else f"{api.whoami()['name']}/{plan.repo}"
    try:
        api.auth_check(repo, write=True)
    except RepositoryNotFoundError:
        api.create_repo(repo, private=plan.private, exist_ok=True)
    if plan.private and not api.model_info(repo).private:
        raise Refused(
            f"{repo} exists already and is public; a private push was asked for",
            "push with --public, choose another repository, or make it private in its settings first",
        )
    return repo


def _is_there(folder: Path, path: str, remote: dict[str, RepoFile]) -> bool:
    return path in remote and is_same(folder / path, remote[path])


def _upload(api: HfApi, repo: str, branch: str, folder: Path, paths: Iterable[str], context: HubContext, pull_request: bool) -> list[Any]:
    """Send the large files' content, one by one; nothing of it is visible before the commit."""
    from huggingface_hub import CommitOperationAdd

    additions = [CommitOperationAdd(path_in_repo=path, path_or_fileobj=str(folder / path)) for path in paths]
    total, done = sum(addition.upload_info.size for addition in additions), 0
    for addition in additions:
        api.preupload_lfs_files(repo, additions=[addition], revision=branch, create_pr=pull_request, free_memory=False)
        done += addition.upload_info.size
        if context.progress is not None:
            context.progress(done, total, addition.path_in_repo)
    return additions


def _commit(
    api: HfApi, repo: str, branch: str, head: str, additions: list[Any], folder: Path, plan: PushPlan, message: str, pull_request: bool
) -> tuple[str, str]:
    """Make the one commit; returns its id and page. An answer that got lost is looked for before trying again.

    Raises:
        WorkFailed: somebody else committed meanwhile.
    """
    from huggingface_hub.errors import HfHubHTTPError

    for attempt in range(TRIES):
        try:
            info = api.create_commit(
                repo, operations=additions, commit_message=message, revision=branch, create_pr=pull_request, parent_commit=head
            )
            return info.oid, info.pr_url or url_of(repo)
        except Exception as problem:
            answered = isinstance(problem, HfHubHTTPError) and problem.response.status_code
            if answered and answered < 500 and answered != 412:
                raise
            if not answered and not isinstance(translate(problem, repo), NetworkError):
                raise
            if pull_request:
                raise NetworkError(f"{repo}: no answer to the pull request", f"it may exist: look at {url_of(repo)}/discussions") from None
            time.sleep(0.5 * 2**attempt)
            now = str(_again(lambda: api.model_info(repo, revision=branch), repo).sha)
            if now != head:
                if _differing(api, repo, now, folder, plan):
                    raise WorkFailed(f"{repo} was changed by somebody else during the push", "push again") from None
                return now, url_of(repo)
            if attempt == TRIES - 1:
                raise
    raise WorkFailed(f"{repo}: the commit did not succeed")


def _differing(api: HfApi, repo: str, commit: str, folder: Path, plan: PushPlan) -> list[str]:
    remote = list_files(api, repo, commit)
    return [file.path for file in plan.files if not _is_there(folder, file.path, remote)]


def _require_same(api: HfApi, repo: str, commit: str, folder: Path, plan: PushPlan) -> None:
    wrong = _differing(api, repo, commit, folder, plan)
    if wrong:
        raise WorkFailed(
            f"{repo} does not hold what was sent: {', '.join(wrong)}", "push again; if it stays so, check the repository's files"
        )


# Pull ----------------------------------------------------------------------------------------------------------------


def _wanted(files: dict[str, RepoFile], what: str) -> list[RepoFile]:
    """The files an adapter consists of; code, pickles and folders stay where they are.

    Raises:
        UnsafeFile: the weights are only there as a pickle.
        NotFound: the repository holds no adapter.
    """
    wanted = [file for path, file in sorted(files.items()) if "/" not in path and is_publishable(path)]
    names = {file.path for file in wanted}
    if {CONFIG_FILE, WEIGHTS_FILE} <= names:
        return wanted
    pickles = [path for path in files if path.endswith(_PICKLES)]
    if CONFIG_FILE in names and pickles:
        raise UnsafeFile(f"{what} has its weights only as a pickle ({pickles[0]}), which can run code", "ask its author for safetensors")
    hint = f"a whole model is fetched with: finetui models add {what}" if "config.json" in names else ""
    raise NotFound(f"{what} is no PEFT adapter: it has no {CONFIG_FILE} with {WEIGHTS_FILE}", hint)


def _fetch(api: HfApi, repo: str, commit: str, file: RepoFile, target: Path) -> None:
    """Download one file and compare it with the listing; a wrong one is fetched once more.

    Raises:
        CorruptFile: what arrived is not what the Hub lists.
    """
    for _ in range(2):
        _again(lambda: api.hf_hub_download(repo, file.path, revision=commit, local_dir=target, force_download=True), f"{repo}/{file.path}")
        if is_same(target / file.path, file):
            return
    raise CorruptFile(f"{repo}/{file.path} arrived damaged twice: its digest is not what the Hub lists", "try again, or another network")


def _again(call: Callable[[], T], what: str) -> T:
    """Repeat a reading call that failed for a passing reason."""
    for attempt in range(TRIES - 1):
        try:
            return call()
        except Exception as problem:
            if not isinstance(translate(problem, what), NetworkError):
                raise
            time.sleep(0.5 * 2**attempt)
    return call()
