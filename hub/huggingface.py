"""The Hugging Face Hub (or a server that speaks its protocol at ``HF_ENDPOINT``), through the ``huggingface_hub`` client."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..core import registry
from ..core.api import AdapterHub, CorruptFile, Found, HubContext, NotFound, PushPlan, Transfer, UnsafeFile
from ..core.catalog.digest import DELTA_FILE
from ..core.catalog.manifest import MANIFEST_FILE
from ..core.catalog.peftfiles import CONFIG_FILE, WEIGHTS_FILE
from ..core.modelspec import is_pickle
from .hubclient import ByteCounter, again, hub_errors, is_same, list_files, open_answering_client, open_client, require_token, url_of
from .pushing import Push
from .transfer import CARD_FILE, is_publishable

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo, RepoFile

_MADE_FOR = ("base_model:adapter:", "base_model:finetune:", "base_model:")
"""Beginnings of the tags in which the Hub tells the base, the most telling first."""

_ALWAYS = ("peft", "safetensors")
"""Tags that say nothing where only adapters are listed."""


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
            push = Push(api, plan, folder, revision or "main", pull_request, message or "Upload adapter", context)
            return push.run()

    def pull(self, repo: str, revision: str, target: Path, context: HubContext) -> Transfer:
        """See `AdapterHub.pull`; ``revision`` is a branch, tag or commit."""
        what = f"{repo}@{revision}" if revision else repo
        with hub_errors(what):
            api = open_client()
            commit = str(again(lambda: api.model_info(repo, revision=revision or None), what).sha)
            wanted = _wanted(again(lambda: list_files(api, repo, commit), what), what)
            total, done = sum(file.size for file in wanted), 0
            for file in wanted:
                _fetch(api, repo, commit, file, target, partial(_report, context, done, total, file.path))
                done += file.size
                _report(context, done, total, file.path, 0)
            shutil.rmtree(target / ".cache", ignore_errors=True)
            return Transfer(repo, commit, tuple(file.path for file in wanted), done, url_of(repo))

    def search(self, words: str, base: str, context: HubContext, *, limit: int = 50) -> list[Found]:
        """See `AdapterHub.search`; PEFT adapters by the Hub's own search, the most downloaded first."""
        wanted = ["peft", *([f"base_model:adapter:{base}"] if base else [])]
        with hub_errors("the search"):
            api = open_answering_client()
            listed = partial(
                api.list_models, search=words or None, filter=wanted, sort="downloads", limit=limit,
                expand=["downloads", "likes", "lastModified", "tags", "private"],
            )  # fmt: skip
            return [_found(info) for info in listed()]

    def card(self, repo: str, revision: str, context: HubContext) -> str:
        """See `AdapterHub.card`; nothing is kept in the cache, which lists only what is whole."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import RemoteEntryNotFoundError

        what = f"{repo}@{revision}" if revision else repo
        with hub_errors(what), tempfile.TemporaryDirectory(prefix="finetui-card-") as folder:
            api = open_answering_client()
            fetch = partial(hf_hub_download, repo, CARD_FILE, revision=revision or None, local_dir=folder, endpoint=api.endpoint)
            try:
                return Path(fetch()).read_text(encoding="utf-8", errors="replace")
            except RemoteEntryNotFoundError:
                return ""


def _found(info: ModelInfo) -> Found:
    """What the Hub lists of a model, the base and the method told from its tags."""
    tags = list(info.tags or [])
    base = next((tag.removeprefix(start) for start in _MADE_FOR for tag in tags if tag.startswith(start)), "")
    words = tuple(tag for tag in tags if ":" not in tag and tag not in _ALWAYS)
    return Found(
        info.id, info.downloads, info.likes, info.last_modified.timestamp() if info.last_modified else 0.0, base,
        next((tag for tag in words if tag in registry.names("methods")), ""), words, bool(info.private),
    )  # fmt: skip


def _wanted(files: dict[str, RepoFile], what: str) -> list[RepoFile]:
    """The files an adapter consists of; code, pickles and folders stay where they are.

    Raises:
        UnsafeFile: the weights are only there as a pickle.
        NotFound: the repository holds no adapter.
    """
    wanted = [file for path, file in sorted(files.items()) if "/" not in path and is_publishable(path)]
    names = {file.path for file in wanted}
    if {CONFIG_FILE, WEIGHTS_FILE} <= names or {DELTA_FILE, MANIFEST_FILE} <= names:
        return wanted
    pickles = [path for path in files if is_pickle(path)]
    if CONFIG_FILE in names and pickles:
        raise UnsafeFile(f"{what} has its weights only as a pickle ({pickles[0]}), which can run code", "ask its author for safetensors")
    hint = f"a whole model is fetched with: finetui models add {what}" if "config.json" in names else ""
    raise NotFound(f"{what} is no adapter: it has no {CONFIG_FILE} with {WEIGHTS_FILE}, and no {DELTA_FILE}", hint)


def _report(context: HubContext, before: int, total: int, name: str, more: int) -> None:
    if context.progress is not None:
        context.progress(min(before + more, total), total, name)


def _fetch(api: HfApi, repo: str, commit: str, file: RepoFile, target: Path, report: Callable[[int], None]) -> None:
    """Download one file and compare it with the listing; a wrong one is fetched once more.

    Raises:
        CorruptFile: what arrived is not what the Hub lists.
    """
    from huggingface_hub import hf_hub_download

    bar: Any = partial(ByteCounter, report)
    for _ in range(2):
        again(
            lambda: hf_hub_download(
                repo, file.path, revision=commit, local_dir=target, force_download=True, endpoint=api.endpoint, tqdm_class=bar
            ),
            f"{repo}/{file.path}",
        )
        if is_same(target / file.path, file):
            return
    raise CorruptFile(f"{repo}/{file.path} arrived damaged twice: its digest is not what the Hub lists", "try again, or another network")
