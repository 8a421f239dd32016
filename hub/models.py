"""Base models from the Hub into the Hugging Face cache, where the catalog finds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..core.api import CorruptFile, UnsafeFile
from ..core.modelspec import TEXT_SUFFIXES, is_pickle
from .hubclient import again, hub_errors, is_same, list_files, open_client

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_PATTERNS = ["*.safetensors", *(f"*{suffix}" for suffix in TEXT_SUFFIXES), "LICENSE*", "NOTICE*"]


def download_model(repo: str, revision: str = "") -> Path:
    """Download a model's safetensors, configuration and tokenizer, verified, and return the cached folder.

    Files that are in the cache already are not fetched again.

    Raises:
        NotFound: no such repository or revision.
        UnsafeFile: its weights are only there as pickles.
        CorruptFile: a file is not what the Hub lists; it is removed from the cache.
        NetworkError, TokenError: the Hub cannot be reached or refuses.
    """
    what = f"{repo}@{revision}" if revision else repo
    with hub_errors(what):
        api = open_client()
        commit = str(again(lambda: api.model_info(repo, revision=revision or None), what).sha)
        files = {path: file for path, file in again(lambda: list_files(api, repo, commit), what).items() if "/" not in path}
        weights = [path for path in files if path.endswith(".safetensors")]
        pickles = [path for path in files if is_pickle(path)]
        if pickles and not weights:
            raise UnsafeFile(
                f"{what} has its weights only as a pickle ({pickles[0]}), which can run code", "choose a model with safetensors"
            )
        folder = _snapshot(api, repo, revision or "main", what)
        if folder.name != commit:
            folder = _snapshot(api, repo, commit, what)
        for path, file in files.items():
            local = folder / path
            if local.exists() and not is_same(local, file):
                local.resolve().unlink()
                local.unlink(missing_ok=True)
                raise CorruptFile(f"{what}: {path} arrived damaged and was removed", "add the model again")
    return folder


def _snapshot(api: HfApi, repo: str, revision: str, what: str) -> Path:
    """Fetch a revision into the cache; what an earlier attempt fetched is not fetched again."""
    ignored = ["*/*", "consolidated*"]
    return Path(again(lambda: api.snapshot_download(repo, revision=revision, allow_patterns=_PATTERNS, ignore_patterns=ignored), what))
