"""Whose the processes on a GPU are."""

from __future__ import annotations

import contextlib

import psutil

from ..runs.identity import run_of
from .device import DeviceProcess


def describe(pid: int, memory: int | None) -> DeviceProcess:
    """A process by its pid, with program, user and run where the system tells them to us."""
    name = user = ""
    with contextlib.suppress(psutil.Error, KeyError):  # gone, another user's in a container, or a user id without a name
        process = psutil.Process(pid)
        name = process.name()
        user = process.username()
    return DeviceProcess(pid, memory, name, user, run_of(pid))
