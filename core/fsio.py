"""Files that are never half-written: atomic JSON, staged folders, appended lines, flocks.

JSON files are replaced whole (temporary file, fsync, rename, fsync of the folder). JSON Lines files have one writer,
which appends one line per ``write``; a torn last line, left by a crash, is cut at reopening and ignored by readers.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from .errors import CorruptFile, DiskError, FineTUIError, NameTaken

T = TypeVar("T")

_LOCK_TRIES = 5


@contextlib.contextmanager
def disk_errors(path: Path | str) -> Iterator[None]:
    """Turn an ``OSError`` of the body into a `DiskError` that names ``path`` and says what to do."""
    try:
        yield
    except FineTUIError:  # some of the family are an OSError too
        raise
    except OSError as problem:
        hints = {
            errno.ENOSPC: "free some space, or use another --home; `finetui doctor` shows what is free",
            errno.EDQUOT: "your disk quota is used up: free some space, or use another --home",
            errno.EFBIG: "a file-size limit stopped the write: see `ulimit -f`",
            errno.EACCES: "check the permissions of the folder",
            errno.EROFS: "the file system is read-only: use another --home",
        }
        reason = os.strerror(problem.errno) if problem.errno else str(problem)
        raise DiskError(f"{problem.filename or path}: {reason}", hints.get(problem.errno or 0, "")) from problem


def fsync_dir(folder: Path) -> None:
    """Make renames inside ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace ``path`` atomically and durably.

    Raises:
        DiskError: the disk is full or not writable; the old file is untouched and no temporary file stays.
    """
    with disk_errors(path):
        temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            os.replace(temporary, path)
            fsync_dir(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` with ``value`` as indented JSON, atomically. Structs and dataclasses are allowed."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def read_json(path: Path, type: type[T] = dict) -> T:  # type: ignore[assignment]
    """Read a JSON file as ``type``.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptFile: it is not JSON, or not of that type; the message names the file.
    """
    data = path.read_bytes()
    try:
        return msgspec.json.decode(data, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise CorruptFile(f"{path}: not the JSON that belongs here ({problem})") from None


@contextlib.contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target`` that becomes ``target`` when the body succeeds and vanishes when it fails.

    Raises:
        NameTaken: ``target`` exists already (checked before and at the rename).
        DiskError: writing failed; nothing half-written stays.
    """
    import shutil
    import tempfile

    if target.exists() or target.is_symlink():
        raise NameTaken(f"{target} exists already", "choose another name, or remove it first")
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            yield staging
            _sync_tree(staging)
            os.chmod(staging, 0o755)
            try:
                os.rename(staging, target)
            except OSError as problem:
                if problem.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise NameTaken(f"{target} exists already", "choose another name, or remove it first") from None
                raise
            fsync_dir(target.parent)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise


def _sync_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            if os.path.islink(path):
                continue
            os.chmod(path, 0o644)
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        fsync_dir(Path(parent))


class JsonlWriter:
    """Appends records to a JSON Lines file; the only writer of that file.

    Opening cuts a torn last line. ``append`` is one ``write`` call; ``sync=True`` makes it durable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._encoder = msgspec.json.Encoder()
        with disk_errors(path):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            cut_torn_tail(self._fd)

    def append(self, record: Any, *, sync: bool = False) -> None:
        """Append one record.

        Raises:
            DiskError: the disk is full; a partly written line is cut off again.
        """
        line = self._encoder.encode(record) + b"\n"
        with disk_errors(self.path):
            size = os.fstat(self._fd).st_size
            try:
                written = os.write(self._fd, line)
                while written < len(line):  # cut short: the next write says why
                    written += os.write(self._fd, line[written:])
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, size)
                raise
            if sync:
                os.fsync(self._fd)

    def close(self) -> None:
        """Make everything durable and close."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> JsonlWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def cut_torn_tail(descriptor: int) -> None:
    """Truncate an open file after its last newline, so that the next append starts a fresh line."""
    size = os.fstat(descriptor).st_size
    end = size
    while end > 0:
        start = max(0, end - 65536)
        block = os.pread(descriptor, end - start, start)
        newline = block.rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end != size:
        os.ftruncate(descriptor, end)


class JsonlReader:
    """Follows a JSON Lines file: each `read` returns the whole lines that were added since the last one.

    Keeps (device, inode, offset), so that a replaced or shortened file is read again from its start. A torn last
    line is left for the next call; a whole line that does not parse is skipped and counted in ``skipped``.
    """

    def __init__(self, path: Path, type: Any = dict, *, offset: int = 0) -> None:
        self.path = path
        self.offset = offset
        self.skipped = 0
        self._decoder = msgspec.json.Decoder(type)
        self._identity: tuple[int, int] | None = None

    def read(self) -> list[Any]:
        """Return the records added since the last call; an absent file has none."""
        try:
            file = open(self.path, "rb")
        except FileNotFoundError:
            return []
        with file:
            status = os.fstat(file.fileno())
            identity = (status.st_dev, status.st_ino)
            if (self._identity is not None and identity != self._identity) or status.st_size < self.offset:
                self.offset = 0
            self._identity = identity
            if status.st_size == self.offset:
                return []
            file.seek(self.offset)
            data = file.read()
        end = data.rfind(b"\n") + 1
        self.offset += end
        return self._decode(data[:end])

    def _decode(self, data: bytes) -> list[Any]:
        try:
            return self._decoder.decode_lines(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            records = []
            for line in data.splitlines():
                try:
                    records.append(self._decoder.decode(line))
                except (msgspec.DecodeError, UnicodeDecodeError):
                    self.skipped += 1
            return records


def tail_records(path: Path, *, window: int = 65536) -> list[dict[str, Any]]:
    """The whole records among the last ``window`` bytes of a JSON Lines file, oldest first; none of an absent file.

    A torn last line and lines that do not parse are left out.
    """
    try:
        start = max(0, path.stat().st_size - window)
    except FileNotFoundError:
        return []
    reader = JsonlReader(path, offset=start)
    return [record for record in reader.read() if isinstance(record, dict)]


class FileLock:
    """An advisory flock on a file, held until `release` or the end of every process that inherited it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = -1

    def acquire(self, *, blocking: bool = False, shared: bool = False) -> bool:
        """Take the lock; returns whether it was taken (always true when ``blocking``).

        Args:
            shared: beside others that share it; nobody has it for himself then.

        `is_locked` holds the lock for an instant, so one refusal is not believed: it is asked again a few times.
        """
        with disk_errors(self.path):
            descriptor = self._open()
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        for attempt in range(1 if blocking else _LOCK_TRIES):
            try:
                fcntl.flock(descriptor, kind | (0 if blocking else fcntl.LOCK_NB))
            except BlockingIOError:
                if attempt + 1 < _LOCK_TRIES:
                    time.sleep(0.005)
            except OSError:
                os.close(descriptor)
                raise
            else:
                self.fd = descriptor
                return True
        os.close(descriptor)
        return False

    def _open(self) -> int:
        """Open without creating first: in a shared sticky folder the kernel refuses O_CREAT on another user's file."""
        try:
            return os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def release(self) -> None:
        """Let go of the lock in this process."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> FileLock:
        if not self.acquire():
            raise BlockingIOError(f"{self.path} is locked by another process")
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_locked(path: Path) -> bool:
    """Whether some process holds the flock on ``path``; an absent file is free."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
