"""One push to the Hugging Face Hub, step by step, so that a broken connection leaves either the old state or the new one."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.api import HubContext, NetworkError, PushPlan, Refused, Transfer, WorkFailed
from .hubclient import TRIES, again, is_same, list_files, translate, url_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi


class _Watched(io.BufferedReader):
    """A file that tells, while it is uploaded, how far reading has come."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.path = path
        self.report: Callable[[int], None] | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if self.report is not None:
            self.report(self.tell())
        return data


@dataclass
class Push:
    """What is pushed and where to.

    Attributes:
        folder: holds the files of ``plan``.
        branch: made when it does not exist.
        repo: full name, known once `run` has looked.
    """

    api: HfApi
    plan: PushPlan
    folder: Path
    branch: str
    pull_request: bool
    message: str
    context: HubContext
    repo: str = ""

    def run(self) -> Transfer:
        """Push the files that differ from what is there, as one commit, and compare the result.

        Raises:
            Refused: the repository exists and is public although the plan is private.
            WorkFailed: somebody else pushed meanwhile, or the Hub holds something else than was sent.
        """
        self._require_repository()
        if self.branch != "main":
            self.api.create_branch(self.repo, branch=self.branch, exist_ok=True)
        head = self._head()
        changed = self._differing(head)
        commit, url = head, url_of(self.repo)
        if changed:
            with contextlib.ExitStack() as opened:
                files = [opened.enter_context(_Watched(self.folder / path)) for path in changed]
                commit, url = self._commit(head, self._upload(files))
        wrong = self._differing(commit)
        if wrong:
            raise WorkFailed(
                f"{self.repo} does not hold what was sent: {', '.join(wrong)}", "push again, and look at the repository's files"
            )
        sent = sum((self.folder / path).stat().st_size for path in changed)
        return Transfer(self.repo, commit, tuple(file.path for file in self.plan.files), sent, url)

    def _require_repository(self) -> None:
        """Find or create the repository; it may be written and is as private as asked for."""
        from huggingface_hub.errors import RepositoryNotFoundError

        self.repo = self.plan.repo if "/" in self.plan.repo else f"{self.api.whoami()['name']}/{self.plan.repo}"
        try:
            self.api.auth_check(self.repo, write=True)
        except RepositoryNotFoundError:
            self.api.create_repo(self.repo, private=self.plan.private, exist_ok=True)
        if self.plan.private and not self.api.model_info(self.repo).private:
            raise Refused(
                f"{self.repo} exists already and is public; a private push was asked for",
                "push with --public, choose another repository, or make it private in its settings first",
            )

    def _head(self) -> str:
        return str(again(lambda: self.api.model_info(self.repo, revision=self.branch), self.repo).sha)

    def _differing(self, commit: str) -> list[str]:
        """The planned files that a commit lacks or holds differently."""
        remote = again(lambda: list_files(self.api, self.repo, commit), self.repo)
        paths = [file.path for file in self.plan.files]
        return [path for path in paths if path not in remote or not is_same(self.folder / path, remote[path])]

    def _upload(self, files: Sequence[_Watched]) -> list[Any]:
        """Send the large files' content, one by one; nothing of it is visible before the commit."""
        from huggingface_hub import CommitOperationAdd

        additions = [CommitOperationAdd(path_in_repo=file.path.name, path_or_fileobj=file) for file in files]
        total, done = sum(addition.upload_info.size for addition in additions), 0
        for file, addition in zip(files, additions):
            addition.upload_info.sha256  # noqa: B018 - computed now, so that only the upload's own reading is reported
            file.report = partial(self._report, done, total, addition.path_in_repo)
            self.api.preupload_lfs_files(
                self.repo, additions=[addition], revision=self.branch, create_pr=self.pull_request, free_memory=False
            )
            file.report = None
            done += addition.upload_info.size
            self._report(done, total, addition.path_in_repo, 0)
        return additions

    def _report(self, before: int, total: int, name: str, more: int) -> None:
        if self.context.progress is not None:
            self.context.progress(min(before + more, total), total, name)

    def _commit(self, head: str, additions: list[Any]) -> tuple[str, str]:
        """Make the one commit on top of ``head``; returns its id and page.

        An answer that got lost is looked for in the repository before trying again, so that nothing is committed twice.
        """
        for attempt in range(TRIES):
            try:
                info = self.api.create_commit(
                    self.repo, operations=additions, commit_message=self.message, revision=self.branch,
                    create_pr=self.pull_request, parent_commit=head,
                )  # fmt: skip
                return info.oid, info.pr_url or url_of(self.repo)
            except Exception as problem:
                if not _may_have_landed(problem, self.repo):
                    raise
                if self.pull_request:
                    page = f"{url_of(self.repo)}/discussions"
                    raise NetworkError(f"{self.repo}: no answer to the pull request", f"it may exist: look at {page}") from None
                time.sleep(0.5 * 2**attempt)
                now = self._head()
                if now != head:
                    if self._differing(now):
                        raise WorkFailed(f"{self.repo} was changed by somebody else during the push", "push again") from None
                    return now, url_of(self.repo)
                if attempt == TRIES - 1:
                    raise
        raise WorkFailed(f"{self.repo}: the commit did not succeed", "push again")


def _may_have_landed(problem: Exception, repo: str) -> bool:
    """Whether a commit that raised this may be there all the same: no answer, a server error, or a head that moved (412)."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(problem, HfHubHTTPError):
        return problem.response.status_code == 412 or problem.response.status_code >= 500
    return isinstance(translate(problem, repo), NetworkError)
