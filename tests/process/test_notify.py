"""Notifications with everything closed: a real command, and a real server on loopback; nothing of them can harm a run."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from finetui.core.doctor import checks
from finetui.core.paths import Home, config_file
from finetui.core.runs.adopt import refresh
from finetui.core.runs.identity import find_tagged, is_alive, signal_process
from support.runs import Toys, until, wait_for, wait_for_end
from support.terminal import Terminal

RECORD = """
import json, os, sys
from pathlib import Path
facts = json.load(sys.stdin)
known = {name: value for name, value in os.environ.items() if name.startswith("FINETUI_")}
Path(sys.argv[1]).write_text(json.dumps({"facts": facts, "environment": known, "arguments": sys.argv[2:]}))
"""


class Hooks(ThreadingHTTPServer):
    """Answers posts with the status in their path, and keeps them."""

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
        self.send_response(int(self.path.split("/")[1]))
        if "to=" in self.path:
            self.send_header("Location", self.path.partition("to=")[2])
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

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


def _configure(**notify: Any) -> None:
    config_file().write_text(tomli_w.dumps({"notify": notify}))


def _log(run: Any) -> str:
    return (run.dir / "console.log").read_text()


def test_a_command_gets_the_facts_and_no_shell(toys: Toys, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    _configure(command=[sys.executable, "-c", RECORD, str(told), "$HOME; rm -rf x"])
    run = toys.start("my-run", steps=3)
    assert wait_for_end(run).state == "succeeded"
    until(lambda: told.exists() and not find_tagged(run.id), what="the command, which carries the run's id, too")
    record = json.loads(told.read_text())
    environment, facts = record["environment"], record["facts"]
    assert record["arguments"] == ["$HOME; rm -rf x"]
    assert environment["FINETUI_RUN"] == run.id and environment["FINETUI_NAME"] == "my-run"
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


def test_what_goes_wrong_is_told_in_the_log_without_secrets_and_harms_nothing(toys: Toys, hooks: Hooks) -> None:
    cases: list[tuple[dict[str, Any], str, int]] = [
        ({"webhook": hooks.address(500, "/TOKEN")}, "webhook at 127.0.0.1 answered 500", 3),
        ({"webhook": hooks.address(404, "/TOKEN")}, "answered 404", 1),
        ({"webhook": hooks.address(302, "/TOKEN?to=/200/elsewhere")}, "answered 302", 1),
        ({"webhook": "http://127.0.0.1:9/TOKEN"}, "cannot be reached", 0),
        ({"webhook": "ftp://127.0.0.1/TOKEN"}, "no http:// or https:// address", 0),
        ({"command": ["no-such-program", "TOKEN"]}, "command no-such-program could not be started", 0),
        ({"command": ["false", "TOKEN"]}, "command false ended with exit code 1", 0),
        ({"command": ["sleep", "30"], "timeout": 1.0}, "command sleep took longer than 1 s", 0),
    ]
    for notify, sentence, posts in cases:
        hooks.posts.clear()
        _configure(**notify)
        run = toys.start(steps=1)
        assert wait_for_end(run).state == "succeeded"
        until(lambda: "warning: the notification" in _log(run) or "warning: webhook" in _log(run), what=sentence)  # noqa: B023
        assert sentence in _log(run) and "TOKEN" not in _log(run) and "Traceback" not in _log(run)
        assert len(hooks.posts) == posts, sentence


def test_a_malformed_configuration_harms_no_run(toys: Toys) -> None:
    config_file().write_text("[notify]\ncomand = ['x']\n")
    assert wait_for_end(toys.start(steps=1)).state == "succeeded"


@pytest.mark.parametrize(
    ("notify", "state", "detail"),
    [
        ({}, "ok", "only terminals that follow a run"),
        ({"command": ["true"], "webhook": "https://hooks.example.org/s/TOKEN"}, "ok", "command true and the webhook at hooks.example.org"),
        ({"webhook": "http://h/x", "on": "failure"}, "ok", "when a run fails"),
        ({"command": ["no-such-program"]}, "warn", "no-such-program is not found"),
        ({"webhook": "hooks.example.org"}, "warn", "no http:// or https:// address"),
        ({"comand": []}, "fail", "unknown setting"),
    ],
)  # fmt: skip
def test_the_doctor_says_what_is_set_up(tmp_path: Path, notify: dict[str, Any], state: str, detail: str) -> None:
    _configure(**notify)
    (row,) = [row for row in checks(Home(tmp_path)) if row.name == "notify"]
    assert row.state == state and detail in row.detail and "TOKEN" not in repr(row)


def test_a_terminal_that_follows_is_told(toys: Toys) -> None:
    run = toys.start("watched", steps=20, pause=0.1)
    with Terminal("runs", "follow", run.id, environment={"TMUX": ""}) as terminal:
        terminal.until("watched: succeeded")
    assert "\x1b]9;FineTUI: watched succeeded\x07" in terminal.raw and "\x1b]2;FineTUI: watched succeeded\x07\x07" in terminal.raw


def test_the_screen_tells_as_the_settings_say(toys: Toys) -> None:
    _configure(bell=False)
    run = toys.start("watched", steps=30, pause=0.1)
    with Terminal(environment={"TMUX": "/tmp/tmux"}) as terminal:
        terminal.until("watched", "running")
        terminal.until("Finished", "succeeded")
        terminal.read(0.5)
    assert terminal.raw.count("\x1bPtmux;\x1b\x1b]9;FineTUI: watched succeeded\x07\x1b\\") == 1
    assert "\x1b]2;FineTUI" not in terminal.raw
    wait_for_end(run)
