"""Notifications with everything closed: a real command, and a real server on loopback; nothing of them can harm a run."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from finetui.core.config import NotifySettings
from finetui.core.doctor import checks
from finetui.core.paths import Home, config_file
from finetui.core.runs import notify
from finetui.core.runs.adopt import refresh
from finetui.core.runs.identity import identify, is_alive, signal_process
from support.runs import Toys, until, wait_for, wait_for_end
from support.terminal import Terminal

RECORD = """
import json, os, sys
from pathlib import Path
facts = json.load(sys.stdin)
known = {name: value for name, value in os.environ.items() if name.startswith("FINETUI_")}
Path(sys.argv[1]).write_text(json.dumps({"facts": facts, "environment": known, "arguments": sys.argv[2:]}))
"""

FACTS = {"run": "01X", "name": "x; $(id)", "state": "failed", "reason": "it `broke`", "loss": 1.5}


class Hooks(ThreadingHTTPServer):
    """Answers posts with the status in their path (``slow``: it never comes to that), and keeps them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posts: list[tuple[str, str, dict[str, Any]]] = []

    def address(self, status: int, more: str = "") -> str:
        return f"http://127.0.0.1:{self.server_port}/{status}{more}"


class _Handler(BaseHTTPRequestHandler):
    server: Hooks

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, self.headers["Content-Type"], json.loads(body)))
        if self.path.startswith("/slow"):
            return self._answer_slowly()
        self.send_response(int(self.path.split("/")[1]))
        if "to=" in self.path:
            self.send_header("Location", self.path.partition("to=")[2])
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def _answer_slowly(self) -> None:
        """A byte now and then: no single read is late."""
        with contextlib.suppress(ConnectionError):
            for _ in range(30):
                self.wfile.write(b"H")
                time.sleep(0.1)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    """A server for one test."""
    server = Hooks()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def _configure(**settings: Any) -> None:
    config_file().write_text(tomli_w.dumps({"notify": settings}))


def _log(run: Any) -> str:
    return (run.dir / "console.log").read_text()


def test_a_command_gets_the_facts_and_no_shell(toys: Toys, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    _configure(command=[sys.executable, "-c", RECORD, str(told), "$HOME; rm -rf x"])
    run = toys.start("my-run", steps=3)
    assert wait_for_end(run).state == "succeeded"
    until(lambda: told.exists() and told.read_text(), what="the command")
    record = json.loads(told.read_text())
    environment, facts = record["environment"], record["facts"]
    assert record["arguments"] == ["$HOME; rm -rf x"]
    assert environment["FINETUI_RUN_ID"] == run.id and environment["FINETUI_NAME"] == "my-run"
    assert "FINETUI_RUN" not in environment, "it would be ended with what a run leaves behind"
    assert (environment["FINETUI_STATE"], environment["FINETUI_STEPS"], environment["FINETUI_KIND"]) == ("succeeded", "3", "train")
    assert environment["FINETUI_HOME"] == str(toys.store.home.root) and environment["FINETUI_MESSAGE"].startswith("my-run succeeded")
    assert (facts["run"], facts["state"], facts["steps"]) == (run.id, "succeeded", 3)


def test_a_webhook_is_posted_what_happened(toys: Toys, hooks: Hooks) -> None:
    _configure(webhook=hooks.address(200, "/secret-path"))
    run = toys.start(do="raise")
    assert wait_for_end(run).state == "failed"
    (path, kind, facts) = until(lambda: hooks.posts, what="the post")[0]
    assert (path, kind) == ("/200/secret-path", "application/json")
    assert (facts["run"], facts["state"], facts["error"]["hint"]) == (run.id, "failed", "add one")
    assert facts["text"] == "FineTUI: toy failed: data.jsonl:7: no answer"


def test_failures_only(toys: Toys, hooks: Hooks) -> None:
    _configure(webhook=hooks.address(200), on="failure")
    assert wait_for_end(toys.start(steps=1)).state == "succeeded"
    wait_for_end(toys.start(do="exit"))
    until(lambda: hooks.posts, what="the post")
    assert [facts["state"] for _, _, facts in hooks.posts] == ["failed"]


def test_a_lost_run_is_told_by_whoever_finds_it(toys: Toys, hooks: Hooks) -> None:
    _configure(webhook=hooks.address(200))
    run = toys.start(do="sleep")
    state = wait_for(run, "running")
    for process in (state.supervisor, state.job):
        signal_process(process, signal.SIGKILL)
        until(lambda: not is_alive(process))  # noqa: B023
    assert refresh(run).state == "lost"
    assert until(lambda: hooks.posts, what="the post")[0][2]["state"] == "lost"


def test_what_goes_wrong_is_an_event_and_a_line_of_the_log_without_secrets(toys: Toys, hooks: Hooks) -> None:
    _configure(webhook=hooks.address(404, "/TOKEN"), command=["no-such-program", "TOKEN"])
    run = toys.start(steps=1)
    assert wait_for_end(run).state == "succeeded"
    until(lambda: [event.kind for event in run.events()].count("warning") == 2, what="two events")
    said = [event.message for event in run.events() if event.kind == "warning"]
    assert said[0].startswith("the notification command no-such-program could not be started: No such file")
    assert said[1] == "the notification webhook at 127.0.0.1 answered 404"
    assert all(f"warning: {message}" in _log(run) for message in said) and "TOKEN" not in _log(run) and "Traceback" not in _log(run)
    numbers = [event.seq for event in run.events()]
    assert numbers == list(range(1, len(numbers) + 1)) and run.state().state == "succeeded"


@pytest.mark.parametrize(
    ("path", "sentence", "posts"),
    [
        ("/500/TOKEN", "webhook at 127.0.0.1 answered 500", notify.TRIES),
        ("/404/TOKEN", "webhook at 127.0.0.1 answered 404", 1),
        ("/302/TOKEN?to=/200/elsewhere", "webhook at 127.0.0.1 answered 302", 1),
        ("/slow/TOKEN", "webhook at 127.0.0.1 did not answer within 0.5 s", 1),
        ("", "webhook at 127.0.0.1 cannot be reached: ConnectionRefusedError", 0),
    ],
)
def test_servers_that_do_not_take_it(hooks: Hooks, monkeypatch: pytest.MonkeyPatch, path: str, sentence: str, posts: int) -> None:
    monkeypatch.setattr(notify, "_PAUSE_SECONDS", 0.01)
    address = f"http://127.0.0.1:{hooks.server_port}{path}" if path else "http://127.0.0.1:9/TOKEN"
    began = time.monotonic()
    assert notify.deliver(NotifySettings(webhook=address, timeout=0.5), FACTS, Path("/home")) == [f"the notification {sentence}"]
    assert len(hooks.posts) == posts and time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["no-such-program", "TOKEN"], "no-such-program could not be started: No such file or directory"),
        (["false", "TOKEN"], "false ended with exit code 1"),
        (["true", "TOKEN"], ""),
    ],
)
def test_commands_that_fail(command: list[str], sentence: str) -> None:
    found = notify.deliver(NotifySettings(command=command), FACTS, Path("/home"))
    assert found == ([f"the notification command {sentence}"] if sentence else [])


def test_a_command_that_takes_too_long_is_ended_with_what_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    settings = NotifySettings(command=["sh", "-c", 'sleep 60 & echo $! > "$0"; wait', str(child)], timeout=0.5)
    assert notify.deliver(settings, FACTS, tmp_path) == ["the notification command sh took longer than 0.5 s and was ended"]
    pid = int(child.read_text())
    until(lambda: identify(pid) is None, 5, "the end of its child")


def test_the_post_is_json_whatever_the_figures_are(hooks: Hooks) -> None:
    facts = {**FACTS, "loss": math.nan, "eval": {"loss": math.inf}}
    assert notify.deliver(NotifySettings(webhook=hooks.address(200)), facts, Path("/home")) == []
    ((_, _, posted),) = hooks.posts
    assert (posted["loss"], posted["eval"], posted["text"]) == (None, {"loss": None}, "FineTUI: x; $(id) failed: it `broke`")


def test_a_malformed_configuration_harms_no_run(toys: Toys) -> None:
    config_file().write_text("[notify]\ncomand = ['x']\n")
    run = toys.start(steps=1)
    assert wait_for_end(run).state == "succeeded"
    assert f"warning: nobody was notified: {config_file()}:2: unknown setting 'notify.comand'" in _log(run)


@pytest.mark.parametrize(
    ("settings", "state", "detail"),
    [
        ({}, "ok", "only terminals that follow a run"),
        ({"command": ["true"], "webhook": "https://hooks.example.org/s/TOKEN"}, "ok", "command true and the webhook at hooks.example.org"),
        ({"webhook": "http://h/x", "on": "failure"}, "ok", "when a run fails"),
        ({"command": ["no-such-program"]}, "warn", "no-such-program is not found"),
        ({"webhook": "hooks.example.org"}, "fail", "config.toml:2: webhook is no http:// or https:// address"),
        ({"comand": []}, "fail", "unknown setting"),
    ],
)  # fmt: skip
def test_the_doctor_says_what_is_set_up(tmp_path: Path, settings: dict[str, Any], state: str, detail: str) -> None:
    _configure(**settings)
    (row,) = [row for row in checks(Home(tmp_path)) if row.name == "notify"]
    assert row.state == state and detail in row.detail and "TOKEN" not in repr(row)


def test_a_terminal_that_follows_is_told(toys: Toys) -> None:
    run = toys.start("watched", steps=10, pause=0.1)
    with Terminal("runs", "follow", run.id, environment={"TMUX": ""}) as terminal:
        terminal.until("watched: succeeded")
    assert "\x1b]9;FineTUI: watched succeeded\x07" in terminal.raw and "\x1b]2;FineTUI: watched succeeded\x07\x07" in terminal.raw


def test_the_screen_tells_as_the_settings_say(toys: Toys) -> None:
    _configure(bell=False)
    run = toys.start("watched", steps=25, pause=0.1)
    with Terminal(environment={"TMUX": "/tmp/tmux"}) as terminal:
        terminal.until("watched", "running")
        terminal.until("Finished", "succeeded")
        terminal.read(0.5)
    assert terminal.raw.count("\x1bPtmux;\x1b\x1b]9;FineTUI: watched succeeded\x07\x1b\\") == 1
    assert "\x1b]2;FineTUI" not in terminal.raw
    wait_for_end(run)
