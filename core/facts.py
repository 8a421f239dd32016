"""What only torch, transformers or PEFT can tell: asked in a process of its own, and remembered on disk.

The app itself imports none of them, so that it starts at once. A plugin that needs to know what a library says (which
options a tuner has, how many parameters it makes trainable) names a function of a module that may import anything; its
arguments and its result are JSON.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from .environment import COMPUTE_ENVIRONMENT
from .errors import FineTUIError, WorkFailed, error_from_dict
from .fsio import read_json, write_json
from .paths import cache_dir

_LIBRARIES = ("finetui", "peft", "transformers", "torch")
"""What is remembered holds for these versions only."""


def ask(function: str, **arguments: Any) -> Any:
    """What ``function`` returns for JSON ``arguments``: from memory, or from a worker process (some seconds, once).

    In a process that has imported torch already, the function is called directly.

    Args:
        function: ``package.module:name``; it must depend on nothing but its arguments and the versions of the libraries.

    Raises:
        FineTUIError: what the function raised; errors are not remembered.
    """
    question = msgspec.json.encode([function, arguments, _versions()], order="sorted")
    path = cache_dir() / "facts" / f"{hashlib.sha256(question).hexdigest()[:32]}.json"
    with contextlib.suppress(FineTUIError, OSError):
        return read_json(path)["answer"]
    answer = call(function, arguments) if "torch" in sys.modules else _in_worker(function, arguments)
    with contextlib.suppress(FineTUIError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"function": function, "answer": answer})
    return answer


def call(function: str, arguments: dict[str, Any]) -> Any:
    """Import ``package.module:name`` and call it."""
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)(**arguments)


@cache
def _versions() -> tuple[str, ...]:
    found = []
    for package in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return tuple(found)


def _in_worker(function: str, arguments: dict[str, Any]) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "finetui.core.worker.facts", function],
        input=msgspec.json.encode(arguments),
        capture_output=True,
        env={**COMPUTE_ENVIRONMENT, **os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"},
    )
    if done.returncode or not done.stdout:
        tail = done.stderr.decode(errors="replace").strip().splitlines()[-4:]
        raise WorkFailed("\n".join([f"the worker that was asked for {function.partition(':')[2]} died", *tail]))
    reply = msgspec.json.decode(done.stdout)
    if "error" in reply:
        raise error_from_dict(reply["error"])
    return reply["answer"]
