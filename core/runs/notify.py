"""Telling the user that a run has ended, with everything closed: ``python -m finetui.core.runs.notify RUN_DIR``.

Whoever writes a run's last state starts this as a process of its own and waits for nothing, so that neither a slow command nor a
server that does not answer keeps a run, a supervisor or a screen. What goes wrong is a line in the run's ``console.log``; it names
a command by its program and an address by its host, because the rest may be secret.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..config import NotifySettings, load_settings
from ..errors import FineTUIError
from .console import log_file

TRIES = 3
"""Of a webhook whose server cannot be reached or has an error of its own."""

_PAUSE_SECONDS = 1.0
_FAILURES = ("failed", "lost")
_ENVIRONMENT = ("run", "name", "kind", "state", "reason", "method", "model", "loss", "steps", "adapter", "started", "finished")


def start(folder: Path) -> None:
    """Notify of the run in ``folder``, which has ended, from a process of its own, if anything is set up. Never raises."""
    with contextlib.suppress(Exception):
        settings = load_settings().notify
        if settings.command or settings.webhook:
            with open(log_file(folder), "ab") as log:
                command = [sys.executable, "-P", "-m", "finetui.core.runs.notify", str(folder)]
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def problem(settings: NotifySettings) -> str:
    """What is wrong with the settings; empty where nothing is."""
    import shutil

    if settings.command and not shutil.which(settings.command[0]):
        return f"the program {settings.command[0]} is not found"
    return "" if not settings.webhook or host(settings.webhook) else "webhook is no http:// or https:// address"


def deliver(settings: NotifySettings, facts: Mapping[str, Any], home: Path) -> list[str]:
    """Start the command and post to the webhook, whichever are set.

    Args:
        facts: the run as ``runs show`` has it.

    Returns:
        A sentence for each that failed.
    """
    failures = []
    if settings.command:
        failures.append(_run_command(settings.command, facts, home, settings.timeout))
    if settings.webhook:
        failures.append(_post(settings.webhook, facts, settings.timeout))
    return [failure for failure in failures if failure]


def sentence(facts: Mapping[str, Any]) -> str:
    """How the run ended, in one line."""
    ended = f"{facts['name']} {facts['state']}"
    if facts.get("reason"):
        return f"{ended}: {facts['reason']}"
    figures = {"loss": facts.get("loss"), "evaluation loss": (facts.get("eval") or {}).get("loss")}
    return ", ".join([ended, *(f"{name} {value:.3f}" for name, value in figures.items() if isinstance(value, float))])


def _run_command(command: Sequence[str], facts: Mapping[str, Any], home: Path, timeout: float) -> str:
    """An argument list, no shell; its output is not kept."""
    known = {f"FINETUI_{name.upper()}": str(facts[name]) for name in _ENVIRONMENT if facts.get(name) is not None}
    evaluation = (facts.get("eval") or {}).get("loss")
    known |= {"FINETUI_HOME": str(home), "FINETUI_DIR": str(home / "runs" / facts["run"]), "FINETUI_MESSAGE": sentence(facts)}
    known |= {} if evaluation is None else {"FINETUI_EVAL_LOSS": str(evaluation)}
    who = f"the notification command {Path(command[0]).name}"
    try:
        done = subprocess.run(
            list(command), input=json.dumps(facts).encode(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=timeout, env={**os.environ, **known},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"{who} took longer than {timeout:g} s and was ended"
    except (OSError, ValueError) as failure:
        return f"{who} could not be started: {getattr(failure, 'strerror', None) or type(failure).__name__}"
    return f"{who} ended with exit code {done.returncode}" if done.returncode else ""


def _post(address: str, facts: Mapping[str, Any], timeout: float) -> str:
    """``text`` is what chat servers show; redirects are not followed, they would carry the facts to somebody else."""
    import http.client
    import urllib.error
    import urllib.request

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    if not host(address):
        return "webhook is no http:// or https:// address"
    body = json.dumps({"text": f"FineTUI: {sentence(facts)}", **facts}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json", "User-Agent": "finetui"}, method="POST")
    opener, reason = urllib.request.build_opener(NoRedirect), ""
    for attempt in range(TRIES):
        time.sleep(attempt * _PAUSE_SECONDS)
        try:
            with opener.open(request, timeout=timeout):
                return ""
        except urllib.error.HTTPError as failure:
            failure.close()
            reason = f"answered {failure.code}"
            if failure.code < 500:
                break
        except (OSError, http.client.HTTPException, ValueError) as failure:
            reason = f"cannot be reached: {type(getattr(failure, 'reason', None) or failure).__name__}"
    return f"the notification webhook at {host(address)} {reason}"


def host(address: str) -> str:
    """Host of an http or https address; empty for anything else."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    return parts.hostname or "" if parts.scheme in ("http", "https") else ""


def main() -> None:
    """Deliver what the configuration wants of this run's end."""
    from . import records
    from .spec import ACTIVE
    from .store import Run

    folder = Path(sys.argv[1])
    try:
        settings = load_settings().notify
        facts = Run(folder, records.read_spec(folder)).summary()
        ended = facts["state"] not in ACTIVE  # it may have been resumed already
        if ended and (settings.on == "end" or facts["state"] in _FAILURES):
            for failure in deliver(settings, facts, folder.parent.parent):
                print(f"warning: {failure}", file=sys.stderr)
    except (FineTUIError, OSError) as failure:
        print(f"warning: nobody was notified: {failure}", file=sys.stderr)


if __name__ == "__main__":
    main()
