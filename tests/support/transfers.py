"""Push and pull as their job processes do them, against the loopback hub or a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from finetui.core.catalog.catalog import Catalog
from finetui.core.fsio import read_json
from finetui.core.paths import Home
from finetui.core.runs.spec import HubRequest, Result
from finetui.core.runs.store import RunStore

TOKEN = "hf_loopbackSecretToken0123456789"


@dataclass
class Machine:
    """A user's machine: a home, a Hugging Face directory, and what the environment says about the hub."""

    root: Path
    endpoint: str = ""
    token: str = TOKEN
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Home:
        """The FineTUI home."""
        return Home(self.root / "home").create()

    @property
    def catalog(self) -> Catalog:
        """Its catalog."""
        return Catalog(self.home)

    def env(self) -> dict[str, str]:
        """The environment of a job process on this machine."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        env |= {"HF_HOME": str(self.root / "hf"), "FINETUI_HOME": str(self.home.root)}
        if self.endpoint:
            env["HF_ENDPOINT"] = self.endpoint
        if self.token:
            env["HF_TOKEN"] = self.token
        return env | self.environment

    def start(self, kind: str, request: HubRequest) -> tuple[subprocess.Popen[bytes], Path]:
        """Start the job process of a push or pull run; returns it and the run's directory."""
        run = RunStore(self.home).create(kind, request.name or "transfer", request)  # type: ignore[arg-type]
        with open(run.dir / "console.log", "wb") as log:
            process = subprocess.Popen([sys.executable, "-m", "finetui.hub.jobs", str(run.dir)], env=self.env(), stdout=log, stderr=log)
        return process, run.dir

    def transfer(self, kind: str, request: HubRequest) -> Result:
        """Do a push or pull and return how it ended."""
        process, folder = self.start(kind, request)
        assert process.wait(120) is not None
        assert (folder / "result.json").exists(), (folder / "console.log").read_text()
        return read_json(folder / "result.json", Result)

    def files_with(self, text: str) -> list[Path]:
        """Files anywhere on this machine that contain ``text``."""
        needle = text.encode()
        return [path for path in self.root.rglob("*") if path.is_file() and needle in path.read_bytes()]
