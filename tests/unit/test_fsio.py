"""Files that are never half-written."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from finetui.core.errors import CorruptFile, DiskError, NameTaken
from finetui.core.fsio import FileLock, JsonlReader, JsonlWriter, is_locked, read_json, staged_folder, tail_records, write_json
from finetui.core.runs.spec import Event
from support.runs import python, until


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 1000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    first = path.stat().st_ino
    write_json(path, {"a": 2})
    assert read_json(path) == {"a": 2} and path.stat().st_ino != first
    assert path.stat().st_mode & 0o777 == 0o644 and os.listdir(tmp_path) == ["a.json"]


def test_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path, small_files: None) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(DiskError, match="File too large") as caught:
        write_json(path, {"a": "x" * 5000})
    assert "ulimit" in caught.value.hint
    assert read_json(path) == {"a": 1} and os.listdir(tmp_path) == ["a.json"]


def test_torn_json_names_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": ')
    with pytest.raises(CorruptFile, match="a.json"):
        read_json(path)


def test_staged_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(ZeroDivisionError), staged_folder(target) as staging:
        (staging / "file").write_text("x")
        1 / 0  # noqa: B018
    assert os.listdir(tmp_path) == []
    with staged_folder(target) as staging:
        (staging / "file").write_text("x")
        assert not target.exists()
    assert os.listdir(target) == ["file"] and os.listdir(tmp_path) == ["out"]
    with pytest.raises(NameTaken), staged_folder(target):
        pass


def test_staged_folder_loses_to_one_that_came_in_between(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(NameTaken), staged_folder(target) as staging:
        (staging / "mine").write_text("x")
        target.mkdir()
        (target / "theirs").write_text("y")
    assert os.listdir(target) == ["theirs"] and os.listdir(tmp_path) == ["out"]


def test_appended_lines_are_read_once_each(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    reader = JsonlReader(path)
    assert reader.read() == []
    with JsonlWriter(path) as writer:
        writer.append({"a": 1})
        assert reader.read() == [{"a": 1}]
        writer.append({"a": 2}, sync=True)
        writer.append({"a": 3})
    assert reader.read() == [{"a": 2}, {"a": 3}] and reader.read() == []


def test_torn_last_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a":1}\n{"a":')
    reader = JsonlReader(path)
    assert reader.read() == [{"a": 1}]
    with open(path, "ab") as file:
        file.write(b"2}\n")
    assert reader.read() == [{"a": 2}]


@pytest.mark.parametrize("tail", [b'{"a":', b"\x00" * 100, b"x" * 200_000])
def test_reopening_cuts_a_torn_tail(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a":1}\n' + tail)
    with JsonlWriter(path) as writer:
        writer.append({"a": 2})
    assert path.read_bytes() == b'{"a":1}\n{"a":2}\n'


def test_file_of_one_torn_line_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a"')
    JsonlWriter(path).close()
    assert path.read_bytes() == b""


def test_line_that_does_not_parse_is_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a":1}\nnonsense\n{"a":2}\n')
    reader = JsonlReader(path)
    assert reader.read() == [{"a": 1}, {"a": 2}] and reader.skipped == 1


def test_replaced_or_shortened_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a":1}\n{"a":2}\n')
    reader = JsonlReader(path)
    reader.read()
    path.write_bytes(b'{"a":3}\n')
    assert reader.read() == [{"a": 3}]
    other = tmp_path / "other"
    other.write_bytes(b'{"a":4}\n{"a":5}\n{"a":6}\n')
    other.replace(path)
    assert reader.read() == [{"a": 4}, {"a": 5}, {"a": 6}]


def test_typed_reader(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with JsonlWriter(path) as writer:
        writer.append(Event(seq=1, time=2.0, kind="saved", message="m"))
    assert JsonlReader(path, Event).read() == [Event(seq=1, time=2.0, kind="saved", message="m")]


def test_full_disk_cuts_the_line_it_could_not_finish(tmp_path: Path, small_files: None) -> None:
    path = tmp_path / "log.jsonl"
    with JsonlWriter(path) as writer:
        writer.append({"a": "x" * 600})
        with pytest.raises(DiskError, match=r"log\.jsonl: File too large"):
            writer.append({"a": "y" * 600})
        writer.append({"b": 1})
    assert [sorted(record) for record in JsonlReader(path).read()] == [["a"], ["b"]]


def test_device_that_is_full(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.symlink_to("/dev/full")
    writer = JsonlWriter(path)
    with pytest.raises(DiskError, match="No space left") as caught:
        writer.append({"a": 1})
    assert "free some space" in caught.value.hint


def test_tail_of_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert tail_records(path) == []
    with JsonlWriter(path) as writer:
        for number in range(10000):
            writer.append({"number": number})
    with open(path, "ab") as file:
        file.write(b'{"number":99')
    last = tail_records(path, window=200)
    assert last[-1] == {"number": 9999} and 5 < len(last) < 15


def test_lock_is_held_once_and_freed_by_death(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    code = (
        "import sys, time; from pathlib import Path; from finetui.core.fsio import FileLock; "
        "lock = FileLock(Path(sys.argv[1])); assert lock.acquire(); print('held', flush=True); time.sleep(60)"
    )
    holder = python(code, str(path))
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert is_locked(path) and not FileLock(path).acquire()
    finally:
        holder.kill()
        holder.communicate()
    lock = FileLock(path)
    assert lock.acquire()
    lock.release()
    assert not is_locked(path)


def test_inherited_lock_outlives_the_process_that_took_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = FileLock(path)
    assert lock.acquire()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=(lock.fd,))
    lock.release()
    try:
        assert is_locked(path)
    finally:
        child.kill()
        child.wait()
    until(lambda: not is_locked(path))
