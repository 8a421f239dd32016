"""Answers worth keeping, as rows that ``finetui data check``, ``eval`` and ``train`` read like any conversation.

Each line of ``<home>/testcases.jsonl`` has ``messages`` (the conversation, the answer last) and, for whoever asks later where it came
from, ``model``, ``adapter`` (its folder; none of the base), ``blend`` (weights by folder), ``sampling`` (what differed from the
defaults) and ``saved`` (seconds since the epoch).
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from .errors import UsageError
from .fsio import disk_errors
from .paths import Home


def save_case(
    home: Home,
    messages: Sequence[Mapping[str, str]],
    *,
    model: str,
    adapter: str | None = None,
    blend: Mapping[str, float] | None = None,
    sampling: Mapping[str, Any] | None = None,
) -> Path:
    """Append one test case; returns the file.

    Raises:
        UsageError: the last message is not an answer.
        DiskError: the file cannot be written.
    """
    if not messages or messages[-1]["role"] != "assistant" or not messages[-1]["content"].strip():
        raise UsageError("a test case ends with an answer", "let the model answer first")
    row = {
        "messages": [dict(message) for message in messages], "model": model, "adapter": adapter, "blend": dict(blend or {}),
        "sampling": dict(sampling or {}), "saved": round(time.time(), 3),
    }  # fmt: skip
    with disk_errors(home.test_cases), open(home.test_cases, "a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        unfinished = end and os.pread(file.fileno(), 1, end - 1) != b"\n"  # people edit this file, and editors may leave it so
        file.write((b"\n" if unfinished else b"") + msgspec.json.encode(row) + b"\n")
    return home.test_cases
