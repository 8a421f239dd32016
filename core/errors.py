"""Every error a user sees. Each kind carries its exit code, so that the command line, the screen and a run's
``result.json`` say the same thing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class FineTUIError(Exception):
    """Something the user should know: what happened, and what to do about it.

    Attributes:
        kind: stable machine-readable name, the ``kind`` of ``{"error": {...}}``.
        exit_code: of the process that ends with this error (see ``docs/design/cli.md``).
        message: what happened; names the file and line where there is one.
        hint: what to do next; empty where nothing helps.
    """

    kind: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def to_dict(self) -> dict[str, str]:
        """The JSON form, ``{"kind", "message", "hint"}``."""
        return {"kind": self.kind, "message": self.message, "hint": self.hint}


class WorkFailed(FineTUIError):
    """The work itself failed: training diverged, a worker died."""


class ProcessLost(WorkFailed):
    """Another process of the same run went away while this one worked with it: the consequence of an error, not its cause."""

    kind = "process_lost"


class DiskError(FineTUIError, OSError):
    """A file could not be read or written: disk full, no permission."""

    kind = "disk"


class NetworkError(FineTUIError, ConnectionError):
    """The other side could not be reached or did not answer as it should."""

    kind = "network"


class TokenError(FineTUIError, PermissionError):
    """The Hub refused the token, or there is none."""

    kind = "token"


class OutOfMemory(FineTUIError, MemoryError):
    """The device's memory was not enough."""

    kind = "out_of_memory"


class Interrupted(FineTUIError):
    """The user pressed Ctrl-C."""

    kind = "interrupted"
    exit_code = 130


class UsageError(FineTUIError, ValueError):
    """A command, option or configuration file is wrong."""

    kind = "usage"
    exit_code = 2


class DataError(FineTUIError, ValueError):
    """Training or evaluation data is malformed; the message names file and line."""

    kind = "data"
    exit_code = 2


class NotFound(FineTUIError, LookupError):
    """A model, adapter, run, file, method or repository that was named does not exist."""

    kind = "not_found"
    exit_code = 3


class Refused(FineTUIError):
    """What was asked is possible in form but wrong to do: unsafe, incompatible, does not fit."""

    kind = "refused"
    exit_code = 4


class UnsafeFile(Refused):
    """A pickle, or code that would have to be trusted."""

    kind = "unsafe"


class CorruptFile(Refused):
    """A file that is not what its name says: torn safetensors, broken JSON in a model folder."""

    kind = "corrupt"


class Incompatible(Refused):
    """Parts that do not belong together: an adapter and another base, a method and an architecture."""

    kind = "incompatible"


class NameTaken(Refused, FileExistsError):
    """The target exists already."""

    kind = "name_taken"


class DeviceBusy(Refused):
    """The device is there but in use: it can be had later."""

    kind = "device_busy"


class DoesNotFit(Refused):
    """The planned peak memory is above what the device has, or the planned files above what the disk has."""

    kind = "does_not_fit"


def _family(cls: type[FineTUIError]) -> Iterable[type[FineTUIError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _family(child)


def error_from_dict(data: dict[str, str]) -> FineTUIError:
    """Rebuild an error that crossed a process boundary as ``to_dict()``; an unknown kind becomes `FineTUIError`."""
    kinds = {cls.kind: cls for cls in reversed(list(_family(FineTUIError)))}
    cls = kinds.get(data.get("kind", ""), FineTUIError)
    return cls(data.get("message", "unknown error"), data.get("hint", ""))


def closest(word: str, known: Iterable[str], what: str = "") -> str:
    """A hint that names the closest of ``known`` to ``word``, or all of them where none is close and they are few.

    Returns:
        A sentence such as ``did you mean 'lora'?``, or an empty string.
    """
    import difflib  # not before it is needed: every supervisor imports this file

    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(f"'{name}'" for name in near) + "?"
    if names and len(names) <= 24:
        return f"known {what}{' ' if what else ''}names: " + ", ".join(names)
    return ""
