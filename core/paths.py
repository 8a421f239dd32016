"""Where everything is. The only place that knows the layout of the home directory."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import DiskError, UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


@dataclass(frozen=True, slots=True)
class Home:
    """The directory where the app keeps runs, adapters and its index.

    Attributes:
        root: absolute path; every other path hangs below it.
    """

    root: Path

    @property
    def runs(self) -> Path:
        """One folder a run, named by its id."""
        return self.root / "runs"

    @property
    def adapters(self) -> Path:
        """PEFT folders: trained here, imported or pulled."""
        return self.root / "adapters"

    @property
    def models(self) -> Path:
        """Whole models: full fine-tunes, merges, and links to folders that `models add` registered."""
        return self.root / "models"

    @property
    def index(self) -> Path:
        """The SQLite index; can be deleted at any time."""
        return self.root / "index.sqlite"

    @property
    def tokenised(self) -> Path:
        """The cache of tokenised data; can be deleted at any time."""
        return self.root / "cache" / "tokenised"

    @property
    def queue(self) -> Path:
        """What waits for a device, in order."""
        return self.root / "queue.json"

    @property
    def queue_log(self) -> Path:
        """What the queue's runner did."""
        return self.root / "queue.log"

    @property
    def prompts(self) -> Path:
        """Saved prompts, a file that people edit (`core.prompts`)."""
        return self.root / "prompts.md"

    @property
    def test_cases(self) -> Path:
        """Answers that were kept as test cases (`core.testcases`)."""
        return self.root / "testcases.jsonl"

    @property
    def log(self) -> Path:
        """What the app itself logs (crash reports included)."""
        return self.root / "finetui.log"

    def create(self) -> Home:
        """Make the folders; returns itself.

        Raises:
            DiskError: the place is not writable, or not a folder.
        """
        for folder in (self.runs, self.adapters, self.models):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as problem:
                reason = f"{problem.filename or folder}: {problem.strerror}"
                raise DiskError(f"the home directory cannot be used: {reason}", "name another with --home or FINETUI_HOME") from None
        return self


def find_home(explicit: str | Path | None = None) -> Home:
    """The home to use: ``explicit``, then ``FINETUI_HOME``, then the platform's user data directory."""
    import platformdirs  # here, as the supervisor of a run needs the rest of this file only

    chosen = explicit or os.environ.get("FINETUI_HOME") or platformdirs.user_data_dir("finetui", appauthor=False)
    return Home(Path(chosen).expanduser().absolute())


def config_file() -> Path:
    """The TOML configuration: ``FINETUI_CONFIG``, else ``config.toml`` under the platform's config directory."""
    explicit = os.environ.get("FINETUI_CONFIG")
    if explicit:
        return Path(explicit).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_config_dir("finetui", appauthor=False)) / "config.toml"


def locks_dir() -> Path:
    """Machine-wide lock files (GPU leases), shared by all users and outside every home.

    ``FINETUI_LOCK_DIR`` moves it (tests). The folder is world-writable and sticky, as ``/tmp`` is.
    """
    folder = Path(os.environ.get("FINETUI_LOCK_DIR") or "/var/tmp/finetui-locks")
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777)
    return folder


def cache_dir() -> Path:
    """What can be found out again at the price of some seconds: ``FINETUI_CACHE``, else ``cache`` in the home directory."""
    explicit = os.environ.get("FINETUI_CACHE")
    return Path(explicit).expanduser().absolute() if explicit else find_home().root / "cache"


def check_name(name: str) -> str:
    """Return ``name`` if it can name an adapter or a model: letters, digits, ``.``, ``_``, ``-``.

    Raises:
        UsageError: it has other characters, starts with a dot or dash, or is longer than 96.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name}' cannot be a name", "use letters, digits, '.', '_' and '-', starting with a letter or digit")
    return name
