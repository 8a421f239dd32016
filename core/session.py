"""The client of a worker process: requests and answers as JSON lines over pipes. No torch here.

A request is ``{"id", "op", "arguments"}``; the worker answers with any number of ``{"id", "chunk": {…}}`` lines and then
one ``{"id", "result"}`` or ``{"id", "error": {kind, message, hint}}``. ``{"cancel": id}`` asks it to end a request early.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from .environment import COMPUTE_ENVIRONMENT
from .errors import FineTUIError, WorkFailed, error_from_dict
from .fsio import disk_errors
from .runs.placing import lease_one

_DRAIN_SECONDS = 5.0
"""How long an abandoned request may take to end before its worker is killed."""

_LOG_LINES = 8


class WorkerSession:
    """A running worker that keeps a model loaded, for as long as this object is open and this process lives.

    Requests take turns: several threads may call, one is answered at a time; `cancel` and `close` may be called
    from any thread meanwhile. The worker ends when its stdin closes, however this process ends.

    Args:
        log: file that the worker's stderr is appended to; a nameless temporary file where there is none.
        gpus: what the worker may use: ``auto``, ``none``, indices or UUIDs (see `core.devices.select`). It leases one GPU.
        environment: variables set for the worker on top of this process's own.
        memory: bytes that it will need of a GPU; 0: unknown.
        share_gpu: beside others that share the GPU.
        what: the worker is for, in the words of those who find the GPU taken.

    Raises:
        DeviceBusy: no GPU can be had now.
        NotFound, Refused, UsageError: as `core.devices.select`.
    """

    def __init__(
        self,
        log: Path | None = None,
        gpus: str = "auto",
        environment: dict[str, str] | None = None,
        *,
        memory: int = 0,
        share_gpu: bool = False,
        what: str = "a worker",
    ) -> None:
        self._turn = threading.Lock()
        self._sending = threading.Lock()
        self._current = 0
        self._last_id = 0
        self._buffer = bytearray()
        self._closed = False
        self._log = _open_log(log)
        lease = lease_one(gpus, memory, what, share=share_gpu)
        own = {**lease.environment, "HF_HUB_OFFLINE": "1", **(environment or {})}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "finetui.core.worker.session"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                bufsize=0,
                process_group=0,  # Ctrl-C in the terminal is for this process, which then cancels
                env={**COMPUTE_ENVIRONMENT, **os.environ, **own},
                pass_fds=lease.descriptors,
            )
        finally:
            lease.release()  # the worker has it now

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the worker can take requests."""
        return not self._closed and self._process.poll() is None

    def call(self, op: str, **arguments: Any) -> dict[str, Any]:
        """Ask for ``op`` and wait for its result; chunks on the way are dropped.

        Raises:
            FineTUIError: the error that the worker raised.
            WorkFailed: the worker died; the end of its log is in the message.
        """
        result: dict[str, Any] = {}
        for item in self.stream(op, **arguments):
            result = item
        return result["result"]

    def stream(self, op: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        """Ask for ``op``; yields its chunks as they come, then ``{"result": …}``.

        Closing the iterator early cancels the request.

        Raises:
            FineTUIError: as `call`.
        """
        with self._turn:
            ident = self._send_request(op, arguments)
            answered = False
            try:
                while not answered:
                    answer = self._answer(ident)
                    answered = "chunk" not in answer
                    if "error" in answer:
                        raise error_from_dict(answer["error"])
                    yield {"result": answer["result"]} if answered else answer["chunk"]
            finally:
                if not answered and self.alive:
                    self._abandon(ident)
                self._current = 0

    def cancel(self) -> None:
        """Ask the worker to end the request under way; a generation then returns what it has. Safe from any thread."""
        if self._current:
            with contextlib.suppress(WorkFailed):
                self._send({"cancel": self._current})

    def close(self) -> None:
        """End the worker and everything it started; returns when it is gone. Safe from any thread and twice."""
        self._closed = True
        with self._sending, contextlib.suppress(OSError):
            cast(BinaryIO, self._process.stdin).close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._turn.acquire(timeout=2):  # whoever waited for an answer has seen the end of the pipe by now
            cast(BinaryIO, self._process.stdout).close()
            self._log.close()
            self._turn.release()

    def __enter__(self) -> WorkerSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send_request(self, op: str, arguments: dict[str, Any]) -> int:
        if self._closed:
            raise WorkFailed("the worker's session is closed", "start a new one")
        self._last_id += 1
        self._current = self._last_id
        self._send({"id": self._last_id, "op": op, "arguments": arguments})
        return self._last_id

    def _send(self, message: dict[str, Any]) -> None:
        line = memoryview(msgspec.json.encode(message) + b"\n")
        pipe = cast(BinaryIO, self._process.stdin)
        with self._sending:
            try:
                while line:
                    line = line[pipe.write(line) :]
            except (OSError, ValueError):
                raise self._death() from None

    def _answer(self, ident: int, timeout: float | None = None) -> dict[str, Any]:
        """The next answer to request ``ident``; late answers to abandoned ones are skipped.

        Raises:
            WorkFailed: the worker died, or ``timeout`` seconds have passed.
        """
        while True:
            answer = msgspec.json.decode(self._read_line(timeout))
            if answer.get("id") == ident:
                return answer

    def _read_line(self, timeout: float | None) -> bytes:
        pipe = cast(BinaryIO, self._process.stdout)
        while (end := self._buffer.find(b"\n")) < 0:
            if timeout is not None and not select.select([pipe], [], [], timeout)[0]:
                raise WorkFailed("the worker does not answer")
            block = os.read(pipe.fileno(), 65536)
            if not block:
                raise self._death()
            self._buffer += block
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _abandon(self, ident: int) -> None:
        """Cancel a request whose answer nobody waits for, and read the pipe empty; a worker that goes on is killed."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        try:
            self._send({"cancel": ident})
            while "chunk" in self._answer(ident, max(0.0, deadline - time.monotonic())):
                pass
        except BaseException as problem:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            if not isinstance(problem, FineTUIError):
                raise

    def _death(self) -> WorkFailed:
        """Why the pipe broke, in words."""
        if self._closed:
            return WorkFailed("the worker's session was closed")
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        size = os.fstat(self._log.fileno()).st_size
        tail = os.pread(self._log.fileno(), 16384, max(0, size - 16384)).decode(errors="replace").strip().splitlines()[-_LOG_LINES:]
        hint = ""
        if code == -signal.SIGKILL:
            hint = "the kernel kills what needs more memory than there is: take a smaller model, or free memory (`dmesg` tells)"
        return WorkFailed("\n".join([f"the worker {how}", *tail]), hint)


def _open_log(path: Path | None) -> BinaryIO:
    if path is None:
        return cast(BinaryIO, tempfile.TemporaryFile())
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "a+b")
