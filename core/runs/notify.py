"""Telling the user that a run has ended, with everything closed: ``python -m finetui.core.runs.notify RUN_DIR``.

Whoever writes a run's last state starts this as a process of its own and waits for nothing, so that neither a slow command nor a
server that does not answer keeps a run, a supervisor or a screen. What goes wrong is a ``warning`` of the run and a line in its
``console.log``; it names a command by its program and an address by its host, because the rest may be secret.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from .. import errors, fsio
from ..config import NotifySettings, load_settings, webhook_host
from . import records
from .console import log_file
from .identity import TAG
from .spec import Event

TRIES = 3
"""Of a webhook whose server cannot be reached or has an error of its own."""

_PAUSE_SECONDS = 1.0
_SUPERVISOR_SECONDS = 5.0
"""What the supervisor that started this is given to be gone, before an event is written in its place."""

_FAILURES = ("failed", "lost")
_ENDED = ("succeeded", "stopped", *_FAILURES)
_ENVIRONMENT = ("name", "kind", "state", "reason", "method", "model", "loss", "steps", "adapter", "started", "finished")


def start(folder: Path) -> None:
    """Notify of the run in ``folder``, which has ended, from a process of its own, if anything is set up. Never raises."""
    with contextlib.suppress(OSError), open(log_file(folder), "ab") as log:
        try:
            settings = load_settings().notify
        except errors.FineTUIError as malformed:
            log.write(f"warning: nobody was notified: {malformed.message}\n".encode())
            return
        if settings.command or settings.webhook:
            command = [sys.executable, "-P", "-m", "finetui.core.runs.notify", str(folder)]
            environment = {name: value for name, value in os.environ.items() if name != TAG}  # it is no process of the run
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment)


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
    """An argument list, no shell; its output is not kept. Out of time, it is ended with all that it started in its process group."""
    known = {f"FINETUI_{name.upper()}": str(facts[name]) for name in _ENVIRONMENT if facts.get(name) is not None}
    evaluation = (facts.get("eval") or {}).get("loss")
    known |= {"FINETUI_RUN_ID": facts["run"], "FINETUI_DIR": str(home / "runs" / facts["run"])}
    known |= {"FINETUI_HOME": str(home), "FINETUI_MESSAGE": sentence(facts)}
    known |= {} if evaluation is None else {"FINETUI_EVAL_LOSS": str(evaluation)}
    who = f"the notification command {Path(command[0]).name}"
    try:
        process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **known},
            start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as failure:
        return f"{who} could not be started: {getattr(failure, 'strerror', None) or type(failure).__name__}"
    try:
        process.communicate(msgspec.json.encode(facts), timeout=timeout)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"{who} took longer than {timeout:g} s and was ended"
    return f"{who} ended with exit code {process.returncode}" if process.returncode else ""


def _post(address: str, facts: Mapping[str, Any], timeout: float) -> str:
    """``text`` is what chat servers show; redirects are not followed, they would carry the facts to somebody else."""
    import http.client
    import urllib.error
    import urllib.request

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    body = msgspec.json.encode({"text": f"FineTUI: {sentence(facts)}", **facts})
    request = urllib.request.Request(address, body, {"Content-Type": "application/json", "User-Agent": "finetui"}, method="POST")
    opener, reason = urllib.request.build_opener(NoRedirect), ""
    try:
        with _at_most(timeout):
            for attempt in range(TRIES):
                time.sleep(attempt * _PAUSE_SECONDS)
                try:
                    with opener.open(request):
                        return ""
                except urllib.error.HTTPError as failure:
                    failure.close()
                    reason = f"answered {failure.code}"
                    if failure.code < 500:
                        break
                except (urllib.error.URLError, ConnectionError, http.client.HTTPException, ValueError) as failure:
                    reason = f"cannot be reached: {type(getattr(failure, 'reason', None) or failure).__name__}"
    except _OutOfTime:
        reason = reason or f"did not answer within {timeout:g} s"
    return f"the notification webhook at {webhook_host(address)} {reason}"


class _OutOfTime(BaseException):
    """Raised in the midst of whatever is done; no ``except Exception`` of a library may take it for its own."""


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise `_OutOfTime` in the main thread when so much time has passed: a server that answers a byte at a time is late, too."""

    def late(*_: object) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _warn(folder: Path, message: str) -> None:
    """Say it in ``console.log`` and, unless somebody has taken the run up again meanwhile, in its events, which are the job's otherwise."""
    print(f"warning: {message}", file=sys.stderr, flush=True)
    deadline = time.monotonic() + _SUPERVISOR_SECONDS
    while fsio.is_locked(records.lock_file(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    with records.unsupervised(folder, *_ENDED) as state:
        if state is not None:
            with fsio.JsonlWriter(folder / "events.jsonl") as events:
                number = records.last_seq(folder) + 1
                events.append(Event(seq=number, time=time.time(), kind="warning", message=message, attempt=state.attempt), sync=True)


def main() -> None:
    """Deliver what the configuration wants of this run's end; runs that another one started are that one's to tell."""
    from .store import Run

    folder = Path(sys.argv[1])
    try:
        settings = load_settings().notify
        facts = Run(folder, records.read_spec(folder)).summary()
        wanted = _ENDED if settings.on == "end" else _FAILURES
        if facts["state"] in wanted and not facts["parent"]:  # it may have been resumed already
            for failure in deliver(settings, facts, folder.parent.parent):
                _warn(folder, failure)
    except (errors.FineTUIError, OSError) as failure:
        print(f"warning: nobody was notified: {failure}", file=sys.stderr)


if __name__ == "__main__":
    main()
