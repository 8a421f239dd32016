"""The contract of places that adapters are published to and fetched from; plugin authors import it from `core.api`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from .errors import Refused


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository: path inside it, bytes, and the sha256 of large files (empty where unknown)."""

    path: str
    size: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class PushPlan:
    """What a push would send: shown by ``--dry-run`` and by the screen before it is confirmed.

    Attributes:
        card: the model card (Markdown with YAML front matter) that would be uploaded as ``README.md``.
        warnings: for example, that the base has no Hub id.
    """

    repo: str
    private: bool
    files: tuple[HubFile, ...]
    card: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a push or pull did.

    Attributes:
        revision: commit id (huggingface) or content digest (folder) of what is there now.
        bytes_sent: bytes that really travelled, either way.
    """

    repo: str
    revision: str
    files: tuple[str, ...]
    bytes_sent: int
    url: str


@dataclass(frozen=True, slots=True)
class Found:
    """One adapter that a search found.

    Attributes:
        downloads: lately, as the hub counts them; ``None`` where it does not.
        likes: ``None`` where the hub has none.
        modified: seconds since the epoch; 0 where unknown.
        base: Hub id or name of the base; empty where the repository does not say.
        method: as its author or PEFT calls it; empty where the repository does not say.
        tags: the author's words, without those that repeat the other fields.
        private: whether only some may read it.
    """

    repo: str
    downloads: int | None = None
    likes: int | None = None
    modified: float = 0.0
    base: str = ""
    method: str = ""
    tags: tuple[str, ...] = ()
    private: bool = False


@dataclass(frozen=True)
class HubContext:
    """What a hub is given: settings that come from the configuration, and where to report progress.

    Attributes:
        home: root of the home directory.
        settings: the user's settings (`core.config.Settings`) as a mapping.
        progress: called with (bytes done, bytes in all, file name).
    """

    home: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    progress: Any = None


class AdapterHub(ABC):
    """A place adapters are published to and fetched from."""

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]

    @abstractmethod
    def push(
        self, plan: PushPlan, folder: Path, context: HubContext, *, revision: str = "", pull_request: bool = False, message: str = ""
    ) -> Transfer:
        """Publish the planned files of ``folder``, card included, as one commit; verify what arrived.

        Raises:
            NetworkError: the hub cannot be reached.
            TokenError: it refuses the token.
            Refused: an existing repository is public and ``plan.private`` is set.
        """

    @abstractmethod
    def pull(self, repo: str, revision: str, target: Path, context: HubContext) -> Transfer:
        """Fetch a repository at ``revision`` (empty: newest) into the empty folder ``target`` and verify every file.

        Raises:
            NotFound: no such repository or revision.
            CorruptFile: a file is not what the hub says it is.
        """

    def search(self, words: str, base: str, context: HubContext, *, limit: int = 50) -> list[Found]:
        """Adapters whose description has all ``words``, and that were made for ``base``; the most useful ones first.

        Args:
            words: empty: any.
            base: Hub id, or name of a base that has none; empty: any.

        Raises:
            Refused: this hub cannot be searched.
            NetworkError, TokenError: as in `push`.
        """
        raise Refused(f"the hub '{self.name}' cannot be searched", "pull by name: finetui pull REPO")

    def card(self, repo: str, revision: str, context: HubContext) -> str:
        """The model card (Markdown, front matter included) of a repository at ``revision``; empty where it has none.

        Raises:
            NotFound: no such repository or revision.
            Refused: this hub shows no cards.
            NetworkError, TokenError: as in `push`.
        """
        raise Refused(f"the hub '{self.name}' shows no cards", f"pull it and read it here: finetui pull {repo}")
