"""The SQLite index: a cache of what reading files would tell. It can be deleted at any time and is rebuilt silently.

Two tables: ``digests`` (sha256 by path, size, modification time and inode) and ``entries`` (what a scan found, by kind, folder
and fingerprint). Losing the index costs time, never facts, so a failing write is logged and forgotten.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from ..paths import Home

log = logging.getLogger(__name__)

_BUSY_SECONDS = 5.0
_NETWORK = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "afs", "9p")


def _create_digests(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE digests (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, sha256 TEXT NOT NULL)")


def _create_entries(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE entries (key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, facts BLOB NOT NULL)")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_create_digests, _create_entries)
"""Each takes the index from its position to the next; ``PRAGMA user_version`` counts those done. Append, never change."""


class Index:
    """A connection to the index of one home; safe to use from several threads and processes."""

    def __init__(self, path: Path) -> None:
        """Open or create the index; a corrupt one, or a newer version's, is replaced; an unwritable one lives in memory."""
        self.path = path
        self._lock = threading.Lock()
        self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        for _ in range(2):
            connection = None
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                connection = _connect(str(self.path))
                _migrate(connection)
                return connection
            except OSError as problem:
                log.info("index %s: %s; kept in memory", self.path, problem)
                break
            except sqlite3.OperationalError as problem:
                log.info("index %s: %s; kept in memory", self.path, problem)
                _close(connection)
                break
            except sqlite3.DatabaseError as problem:
                log.info("index %s: %s; rebuilt", self.path, problem)
                _close(connection)
                _delete(self.path)
        connection = _connect(":memory:")
        _migrate(connection)
        return connection

    def _run(self, sql: str, values: tuple[object, ...]) -> list[tuple]:
        """Execute one statement; an index that turns out corrupt is replaced, and the statement counts as a miss."""
        with self._lock:
            try:
                return self._connection.execute(sql, values).fetchall()
            except sqlite3.OperationalError as problem:
                log.info("index %s: %s", self.path, problem)
            except sqlite3.DatabaseError as problem:
                log.info("index %s: %s; rebuilt", self.path, problem)
                _close(self._connection)
                _delete(self.path)
                self._connection = self._open()
            return []

    def digest(self, path: Path) -> str:
        """The known sha256 of a file as it is now; empty where it changed or was never hashed."""
        status = path.stat()
        rows = self._run(
            "SELECT sha256 FROM digests WHERE path = ? AND size = ? AND mtime_ns = ? AND inode = ?",
            (str(path), status.st_size, status.st_mtime_ns, status.st_ino),
        )
        return rows[0][0] if rows else ""

    def set_digest(self, path: Path, status: os.stat_result, sha256: str) -> None:
        """Remember a file's sha256 together with the state (``status``) it was hashed in."""
        self._run(
            "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?)",
            (str(path), status.st_size, status.st_mtime_ns, status.st_ino, sha256),
        )

    def facts(self, key: str, fingerprint: str) -> bytes:
        """What a scan remembered under ``key`` when the files had this fingerprint; empty otherwise."""
        rows = self._run("SELECT facts FROM entries WHERE key = ? AND fingerprint = ?", (key, fingerprint))
        return rows[0][0] if rows else b""

    def set_facts(self, key: str, fingerprint: str, facts: bytes) -> None:
        """Remember what a scan found."""
        self._run("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", (key, fingerprint, facts))

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            _close(self._connection)


def _connect(target: str) -> sqlite3.Connection:
    connection = sqlite3.connect(target, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    if _version(connection) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = _version(connection)
        if done > len(MIGRATIONS):
            raise sqlite3.DatabaseError(f"version {done} of a newer FineTUI")
        for number, migration in enumerate(MIGRATIONS[done:], done + 1):
            migration(connection)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _close(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        connection.close()


def _delete(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def index_path(home: Home) -> Path:
    """Where this machine's index lies: in the home, or, when the home is on a network file system, under ``/var/tmp``.

    SQLite's WAL needs shared memory, which hosts of a network file system do not have; each keeps its own index there.
    """
    if not _filesystem(home.root).startswith(_NETWORK):
        return home.index
    key = hashlib.sha256(str(home.root).encode()).hexdigest()[:16]
    folder = Path(f"/var/tmp/finetui-index-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        return Path(":memory:")
    return folder / f"{key}.sqlite"


def _filesystem(path: Path) -> str:
    """Type of the file system that ``path`` is (or will be) on, as in ``/proc/mounts``; empty where unknown."""
    best, kind = "", ""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in mounts:
        _, where, name, *_ = line.split(" ")
        where = where.replace("\\040", " ")
        inside = where == "/" or str(path) == where or str(path).startswith(where.rstrip("/") + "/")
        if inside and len(where) >= len(best):
            best, kind = where, name
    return kind
