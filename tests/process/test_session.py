"""Worker sessions: real processes, their answers, their errors, and their ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from finetui.core.errors import CorruptFile, DiskError, FineTUIError, NotFound, UsageError, WorkFailed
from finetui.core.session import WorkerSession
from support.adapters import make_adapter
from support.models import tiny_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("session") / "base", "qwen2", chat_template=True)


@pytest.fixture(scope="module")
def adapter(base: Path) -> Path:
    return make_adapter(base.parent / "adapter", base)


@pytest.fixture(scope="module")
def session(base: Path, adapter: Path) -> Iterator[WorkerSession]:
    """One worker with base and adapter ``a`` loaded, for tests that leave it as it was."""
    with WorkerSession(gpus="none") as session:
        session.call("load", model_path=str(base))
        session.call("add_adapter", name="a", path=str(adapter))
        yield session


def wait_until_gone(pid: int, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_status_says_what_is_loaded(session: WorkerSession, base: Path, adapter: Path) -> None:
    status = session.call("status")
    assert status["model"] == str(base)
    assert (status["device"], status["dtype"]) == ("cpu", "float32")
    assert [(row["name"], row["path"], row["kind"]) for row in status["adapters"]] == [("a", str(adapter), "lora")]


def test_text_streams_and_the_result_comes_last(session: WorkerSession) -> None:
    items = list(session.stream("generate", prompt="Name three colours", adapter="a", max_new_tokens=12))
    result = items.pop()["result"]
    assert "".join(item["text"] for item in items) == result["text"]
    assert result["tokens"] == 12
    assert result.keys() >= {"text", "tokens", "seconds", "first_token_seconds", "swap_seconds"}
    again = session.call("generate", messages=[{"role": "user", "content": "Name three colours"}], adapter="a", max_new_tokens=12)
    assert again["text"] == result["text"]
    assert session.call("generate", prompt="Name three colours", max_new_tokens=12)["text"] != result["text"]


def test_errors_keep_their_kind_and_leave_the_session_usable(session: WorkerSession, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as missing:
        session.call("generate", prompt="x", adapter="b")
    assert "a" in missing.value.hint
    with pytest.raises(UsageError):
        session.call("no_such_operation")
    with pytest.raises(UsageError):
        session.call("generate", prompt="x", messages=[])
    with pytest.raises(NotFound):
        session.call("add_adapter", name="c", path=str(tmp_path))
    with pytest.raises(FineTUIError, match="unexpected"):
        session.call("status", unexpected=1)
    assert session.call("generate", prompt="x", max_new_tokens=1)["tokens"] == 1


def test_cancelling_from_another_thread_returns_what_there_is(session: WorkerSession) -> None:
    stream = session.stream("generate", prompt="Tell me a long story", max_new_tokens=400)
    next(stream)
    threading.Thread(target=session.cancel).start()
    result = list(stream)[-1]["result"]
    assert result["finish"] == "cancelled"
    assert 0 < result["tokens"] < 400


def test_an_abandoned_stream_is_cancelled(session: WorkerSession) -> None:
    stream = session.stream("generate", prompt="Tell me a long story", max_new_tokens=400)
    next(stream)
    started = time.monotonic()
    stream.close()  # type: ignore[attr-defined]
    assert session.call("generate", prompt="x", max_new_tokens=2)["tokens"] == 2
    assert time.monotonic() - started < 3


def test_threads_take_turns(session: WorkerSession) -> None:
    expected = {length: session.call("generate", prompt="Count", max_new_tokens=length)["text"] for length in (3, 6, 9, 12)}
    seen: dict[int, str] = {}

    def ask(length: int) -> None:
        seen[length] = session.call("generate", prompt="Count", max_new_tokens=length)["text"]

    threads = [threading.Thread(target=ask, args=(length,)) for length in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == expected


def test_prints_of_libraries_go_to_the_log_and_not_into_the_answers(base: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        textwrap.dedent("""
        import os, sys
        class Loud:
            def find_spec(self, name, path=None, target=None):
                if name == "transformers":
                    print("printed by Python")
                    sys.stdout.flush()
                    os.write(1, b"written by C\\n")
        sys.meta_path.insert(0, Loud())
        """)
    )
    log = tmp_path / "logs" / "session.log"
    with WorkerSession(log, gpus="none", environment={"PYTHONPATH": str(site)}) as session:
        session.call("load", model_path=str(base))
        assert session.call("generate", prompt="x", max_new_tokens=2)["tokens"] == 2
    assert "printed by Python" in log.read_text()
    assert "written by C" in log.read_text()


def test_a_worker_that_dies_is_reported_with_its_last_words(base: Path, tmp_path: Path) -> None:
    session = WorkerSession(tmp_path / "log", gpus="none")
    session.call("load", model_path=str(base))
    stream = session.stream("generate", prompt="Tell me a long story", max_new_tokens=400)
    next(stream)
    with open(tmp_path / "log", "a") as log:
        log.write("the last words\n")
    os.kill(session.pid, signal.SIGKILL)
    with pytest.raises(WorkFailed, match="SIGKILL") as death:
        list(stream)
    assert "the last words" in death.value.message
    assert "memory" in death.value.hint
    assert not session.alive
    with pytest.raises(WorkFailed):
        session.call("status")
    session.close()


def test_a_worker_that_does_not_react_is_killed(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetui.core.session._DRAIN_SECONDS", 0.5)
    with WorkerSession(gpus="none") as session:
        session.call("load", model_path=str(base))
        stream = session.stream("generate", prompt="Tell me a long story", max_new_tokens=400)
        next(stream)
        os.kill(session.pid, signal.SIGSTOP)
        stream.close()  # type: ignore[attr-defined]
        assert wait_until_gone(session.pid)
        with pytest.raises(WorkFailed, match="SIGKILL"):
            session.call("status")


def test_bad_models_are_refused_by_name(base: Path, tmp_path: Path) -> None:
    import shutil

    torn, silent = tmp_path / "torn", tmp_path / "silent"
    shutil.copytree(base, torn)
    with open(torn / "model.safetensors", "r+b") as file:
        file.truncate(5000)
    shutil.copytree(base, silent)
    for file in silent.glob("tokenizer*"):
        file.unlink()
    with WorkerSession(gpus="none") as session:
        with pytest.raises(CorruptFile, match=r"torn.*"):
            session.call("load", model_path=str(torn))
        with pytest.raises(NotFound, match="tokenizer"):
            session.call("load", model_path=str(silent))
        with pytest.raises(UsageError, match="no model"):
            session.call("generate", prompt="x")
        assert session.call("load", model_path=str(base))["adapters"] == []


def test_closing_ends_the_worker_even_while_it_generates(base: Path) -> None:
    session = WorkerSession(gpus="none")
    session.call("load", model_path=str(base))
    failures: list[FineTUIError] = []

    def run() -> None:
        try:
            list(session.stream("generate", prompt="Tell me a long story", max_new_tokens=450))
        except FineTUIError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.3)
    session.close()
    session.close()
    thread.join(10)
    assert not thread.is_alive()
    assert [failure.kind for failure in failures] == ["failed"]
    assert "closed" in failures[0].message
    assert wait_until_gone(session.pid)


def test_the_worker_ends_with_its_owner_however_that_ends(base: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(f"""
            from finetui.core.session import WorkerSession
            session = WorkerSession(gpus="none")
            session.call("load", model_path={str(base)!r})
            print(session.pid, flush=True)
            list(session.stream("generate", prompt="Tell me a long story", max_new_tokens=450))
            import time; time.sleep(60)
        """)],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert owner.stdout is not None
    worker = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    assert wait_until_gone(worker)


def test_a_log_that_cannot_be_written_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError):
        WorkerSession(tmp_path / "file" / "log", gpus="none")


def test_the_client_does_without_torch() -> None:
    code = "import sys, finetui.core.inference; assert not {'torch', 'transformers', 'peft'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
