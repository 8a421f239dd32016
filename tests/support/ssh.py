"""A real ``sshd`` on loopback for one test: keys, configuration and log of its own, and a login that leads to this test's files."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from finetui.core.runs.identity import identify
from finetui.core.runs.spec import ProcessIdentity

PRIVILEGE_SEPARATION = Path("/run/sshd")
"""Root's sshd insists on this empty folder; the package's service makes it."""

CONFIGURATION = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
"""

INHERITED = ("FINETUI_", "HF_", "PYTHON", "OMP_")
"""Variables that lead to the test's own files. A login begins with an environment of its own, so the script there sets them."""


@contextmanager
def loopback_sshd(folder: Path) -> Iterator[list[str]]:
    """The command that logs in with a terminal; skips the test where there is no sshd or it does not let this user in."""
    sshd = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if sshd is None or shutil.which("ssh") is None:
        pytest.skip("needs OpenSSH: sshd and ssh are not installed")
    if os.geteuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    folder.mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    port = _free_port()
    (folder / "config").write_text(CONFIGURATION.format(port=port, folder=folder))
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen([sshd, "-D", "-e", "-f", folder / "config"], stdin=subprocess.DEVNULL, stderr=log)
    try:
        login = [
            "ssh", "-F", "none", "-tt", "-p", str(port), "-i", str(folder / "user"), "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
            "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder}/known", f"{getpass.getuser()}@127.0.0.1",
        ]  # fmt: skip
        _wait_for_port(port, server)
        tried = subprocess.run([*login, "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        if tried.returncode != 0:
            pytest.skip(f"sshd does not let this user in: {(folder / 'log').read_text()[-500:]}")
        yield login
    finally:
        server.terminate()
        server.wait(10)


def script(path: Path, command: list[str]) -> Path:
    """Write a script for a login to run: the test's environment, then ``command``, whose pid it leaves in ``path``.pid."""
    variables = [f"export {name}={shlex.quote(value)}" for name, value in os.environ.items() if name.startswith(INHERITED)]
    path.write_text("\n".join(["#!/bin/sh", *variables, f"echo $$ > {shlex.quote(f'{path}.pid')}", f"exec {shlex.join(command)}", ""]))
    path.chmod(0o755)
    return path


def process_of(path: Path) -> ProcessIdentity:
    """The process that a script has become."""
    process = identify(int(Path(f"{path}.pid").read_text()))
    assert process is not None, "it has ended"
    return process


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for_port(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert server.poll() is None and time.monotonic() < deadline, "sshd does not listen"
            time.sleep(0.05)
