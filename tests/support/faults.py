"""Faults for real runs, at moments that a seed decides; and what must be true after each.

`disturb` kills, at random moments between before a run starts and after it has ended, the processes that a run is made of, damages what
a crash may damage, and insists each time that the state is right within two seconds, that nothing outlives what it belongs to, that no GPU
stays leased, and that the run in the end reports exactly what an undisturbed one reports.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetui.core.errors import FineTUIError
from finetui.core.fsio import is_locked
from finetui.core.runs import leases
from finetui.core.runs.adopt import refresh
from finetui.core.runs.identity import find_tagged, identify, is_alive, signal_process, wait_for_end
from finetui.core.runs.launch import launch, resume
from finetui.core.runs.queue import Queue, runner_lock
from finetui.core.runs.spec import ACTIVE, JOB_MODULES, ProcessIdentity, RunState
from finetui.core.runs.store import Run
from support.gpus import uuid
from support.terminal import Terminal

RIGHT_SECONDS = 2.0
"""Within this the state agrees with what there is, whoever was killed; where starting a process is slow, within some of those more."""

STARTS = 3
"""Processes whose start one look may wait for, one after the other: supervisors that adopt, and the queue's runner."""

ROLES = ("trainer", "supervisor", "launcher", "everyone")


def in_fork(action: Callable[[Run], object], run: Run) -> int:
    """Do something with a run in a process of its own; returns its pid. Its exit code is that of the error, or 0."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        action(run)
        code = 0
    except FineTUIError as problem:
        code = problem.exit_code
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def exit_code(pid: int, seconds: float = 30.0) -> int:
    """Wait for a process that was forked; a signal's number comes back negative."""
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        assert time.monotonic() < deadline, f"process {pid} did not end"
        time.sleep(0.002)


def supervisors(run: Run) -> list[ProcessIdentity]:
    """Live supervisors of a run, also one that has not got its lock yet."""
    return _running("finetui.core.runs.supervisor", str(run.dir))


def runners(run: Run) -> list[ProcessIdentity]:
    """The live runner of the queue of a run's home."""
    return _running("finetui.core.runs.runner", str(run.home.root))


def ranks(run: Run) -> list[ProcessIdentity]:
    """The live processes of a data-parallel job, rank 0 first; their launcher, whose words name the module too, is none of them."""
    launcher = find_tagged(run.id)[:1]
    found = _running(run.spec.module or JOB_MODULES[run.spec.kind], str(run.dir))
    return sorted((one for one in found if one not in launcher), key=lambda process: process.start_time)


def _running(module: str, argument: str) -> list[ProcessIdentity]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if module.encode() in words and argument.encode() in words:
                found.append(identify(int(name)))
    return [process for process in found if process is not None]


def is_right(run: Run, state: RunState) -> bool:
    """Whether a state agrees with the processes that there are."""
    if state.state == "queued":
        waits = Queue(run.home).find(run.id) is not None
        return not find_tagged(run.id) and (not waits or is_locked(runner_lock(run.home)) or bool(supervisors(run)))
    if state.state in ACTIVE:
        return is_alive(state.supervisor) and (state.job is None or is_alive(state.job))
    if find_tagged(run.id) or supervisors(run) or any(leased(device) for device in state.devices):
        return False
    result = run.result()
    return state.state == (result.state if result else state.state) and (state.state != "succeeded" or result is not None)


def leased(device: str) -> bool:
    """Whether somebody has a GPU."""
    return device != "cpu" and leases.alone(device) is not None


def seconds_until_right(run: Run) -> float:
    """Look after a run as the screen does, until its state is right; fails when that takes longer than `RIGHT_SECONDS`."""
    began, allowed = time.monotonic(), RIGHT_SECONDS
    while not is_right(run, state := refresh(run)):
        waited = time.monotonic() - began
        if waited > allowed:
            allowed = RIGHT_SECONDS + STARTS * _seconds_to_start()
        assert waited <= allowed, f"after {waited:.1f} s the state is {state}; alive: {find_tagged(run.id)}, {supervisors(run)}"
        time.sleep(0.01)
    return time.monotonic() - began


def _seconds_to_start() -> float:
    """How long a supervisor's imports take just now: a tenth of a second, and seconds where others use the machine."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import finetui.core.runs.supervisor"], check=True)
    return time.monotonic() - began


@dataclass
class Faults:
    """What was done to the runs of one test.

    Attributes:
        kills: processes that got a SIGKILL, by role.
        seconds: until the state was right again, of each.
        attempts: attempts that the runs took in all.
    """

    kills: dict[str, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    attempts: int = 0

    def kill(self, role: str, run: Run, launcher: int) -> bool:
        """SIGKILL who plays a role in a run, now or, while others work on the run, in a moment; returns whether there was anybody.

        A launcher or a runner that has gone already is not waited for: it is the trainer's turn.
        """
        if role in ("launcher", "runner") and not _victims(role, run, launcher):
            role = "trainer"
        while True:
            victims = _victims(role, run, launcher)
            for victim in victims:
                signal_process(victim, signal.SIGKILL)
            for victim in victims:
                assert wait_for_end(victim, 5), f"{victim} survives a SIGKILL"
            if victims:
                self.kills[role] = self.kills.get(role, 0) + 1
                return True
            if not _victims("everyone", run, launcher):
                return False
            time.sleep(0.001)

    def report(self, record: Callable[[str, object], None]) -> None:
        """Leave the figures in a test's record (``record_property``), in types that test processes can hand to one another."""
        record("kills", self.kills)
        record("attempts", self.attempts)
        record("seconds", [round(value, 2) for value in sorted(self.seconds)])


def _victims(role: str, run: Run, launcher: int) -> list[ProcessIdentity]:
    who = identify(launcher) if launcher else None
    launchers = [who] if who else []
    match role:
        case "trainer":
            return find_tagged(run.id)[:1]
        case "supervisor":
            return supervisors(run)
        case "launcher":
            return launchers
        case "runner":
            return runners(run)
        case "rank 0" | "rank 1":
            return ranks(run)[int(role[-1]) :][:1]
        case _:
            return [*launchers, *supervisors(run), *find_tagged(run.id)]


def disturb(
    start: Callable[[], Run],
    check: Callable[[Run], None],
    seed: int,
    kills: int,
    *,
    life: float,
    roles: tuple[str, ...] = ROLES,
    damage: Callable[[Run, random.Random], None] = lambda _run, _rng: None,
    patience: float = 60.0,
) -> Faults:
    """Kill so many times; runs are taken up again after each, and new ones made as they succeed.

    Args:
        start: makes a queued run.
        check: looks at one that has succeeded.
        life: seconds that an undisturbed run takes from its launch to its end, at first.
        damage: what else happens to one that has ended too early, before it is resumed.
        patience: seconds that the last one may take to its end once it is left in peace.
    """
    rng, faults, run = random.Random(seed), Faults(), start()
    while sum(faults.kills.values()) < kills:
        state = refresh(run)
        if state.state == "succeeded":
            check(run)
            faults.attempts += state.attempt
            run = start()
        launcher = take_up(run, damage, rng)
        role = rng.choice(roles)
        lasted = _wait(run, rng.uniform(0, life * (0.3 if role == "launcher" else 1.0)))
        if faults.kill(role, run, launcher):
            faults.seconds.append(seconds_until_right(run))
        elif (state := run.state()).state == "succeeded" and state.attempt == 1:
            life = lasted  # the machine is faster than it was: later moments would find nobody
        if launcher:
            exit_code(launcher)
    bring_to_an_end(run, patience)
    check(run)
    faults.attempts += run.state().attempt
    return faults


def _wait(run: Run, seconds: float) -> float:
    """Wait so many seconds, or until a run has succeeded; returns how many it were."""
    began = time.monotonic()
    while (waited := time.monotonic() - began) < seconds and run.state().state != "succeeded":
        time.sleep(min(0.01, seconds - waited))
    return waited


def take_up(run: Run, damage: Callable[[Run, random.Random], None], rng: random.Random) -> int:
    """Launch or resume a run that nobody works on; returns the launcher's pid, or 0."""
    state = run.state().state
    if state == "queued":
        return in_fork(launch, run) if Queue(run.home).find(run.id) is None else 0
    if state in ACTIVE or state == "succeeded":
        return 0
    damage(run, rng)
    return in_fork(resume, run)


def bring_to_an_end(run: Run, seconds: float = 60.0) -> None:
    """Let a run succeed, whatever happened to it."""
    deadline = time.monotonic() + seconds
    while refresh(run).state != "succeeded":
        assert time.monotonic() < deadline, f"not ended: {run.state()}"
        launcher = take_up(run, lambda *_: None, random.Random(0))
        if launcher:
            assert exit_code(launcher) in (0, 4), "4: somebody else was faster"
        time.sleep(0.02)
    seconds_until_right(run)


def several_launchers(run: Run, rng: random.Random) -> list[int]:
    """Let three processes launch a run at once, one of which is killed; returns how each ended."""
    launchers = [in_fork(launch, run) for _ in range(3)]
    time.sleep(rng.uniform(0, 0.3))
    os.kill(rng.choice(launchers), signal.SIGKILL)
    return [exit_code(launcher) for launcher in launchers]


def end_screen(run: Run, rng: random.Random, life: float) -> None:
    """Open the screen on a run's home, and kill it or close its terminal at a random moment; now and then the run is adopted just then."""
    if rng.random() < 0.5:
        for process in supervisors(run):
            signal_process(process, signal.SIGKILL)
    with Terminal("--home", str(run.home.root)) as screen:
        screen.read(rng.uniform(0, life))
        if rng.random() < 0.5:
            screen.press("\r")
            screen.read(rng.uniform(0, life / 2))
        if rng.random() < 0.5:
            screen.kill()
        else:
            screen.hang_up()
            assert screen.process.wait(30) in (129, -signal.SIGHUP), "the second one before it has begun"
    seconds_until_right(run)


def tear(run: Run, rng: random.Random) -> None:
    """Half a line at the end of a log, as a crash leaves it."""
    name = rng.choice(("events.jsonl", "metrics.jsonl"))
    if (run.dir / name).exists():
        with open(run.dir / name, "ab") as file:
            file.write(b'{"step": 7, "loss": 0.1234567, "seq": 99}'[: rng.randrange(1, 30)])


def corrupt_newest(run: Run, rng: random.Random) -> None:
    """Damage a file of the newest checkpoint, and leave half of one that was being written."""
    found = sorted((run.dir / "checkpoints").glob("step-*"))
    if len(found) < 2:
        return
    files = sorted(found[-1].iterdir())
    if not files:  # a kill left an empty folder: damage enough
        return
    path = rng.choice(files)
    content = path.read_bytes()
    match rng.randrange(3):
        case 0:
            path.write_bytes(content[: rng.randrange(len(content))])
        case 1:
            path.unlink()
        case _:
            at = rng.randrange(len(content))
            path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
    half = found[-1].with_name(f".{found[-1].name}.half")
    half.mkdir(exist_ok=True)
    (half / path.name).write_bytes(content[: len(content) // 2])


def request(**changes: Any) -> dict[str, Any]:
    """What `support.sums` is asked: forty steps in a fifth of a second and more."""
    return {"gpus": "none", "steps": 40, "pause": 0.005, **changes}


FIRST_GPU = uuid(0)
