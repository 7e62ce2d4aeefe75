"""How each fault is done."""

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Engine, select

from robxfer_core.ledger.engine import read
from robxfer_core.ledger.tables import attempts
from robxfer_core.spec.states import AttemptOutcome
from tests.service import servers
from tests.service.killable import Server

from .plan import ENDLESS, Fault
from .stack import Stack
from .worker import ask_to_hold, held

T = TypeVar("T")


class Faults:
    """Does faults to a stack, and counts those that were done."""

    def __init__(self, stack: Stack, engine: Engine, rng: random.Random) -> None:
        self.kills: Counter[str] = Counter()
        self.orphans: set[int] = set()
        """Children that lived on after their worker was killed, or had lost its lease in a pause."""
        self._stack, self._engine, self._rng = stack, engine, rng
        self._how: dict[str, Callable[[Fault], bool]] = {
            "child": self._child,
            "worker": self._worker,
            "api": lambda fault: self._server(stack.api, fault),
            "database": lambda fault: self._server(stack.database, fault),
            "broker": lambda fault: self._server(stack.broker, fault),
            "store": lambda fault: self._server(stack.store, fault),
            "pause": self._pause,
            "late_pause": self._late_pause,
        }

    def do(self, fault: Fault) -> None:
        """Wait for the fault's time, do it, and undo it."""
        time.sleep(fault.after_s)
        if self._how[fault.victim](fault):
            self.kills[fault.victim] += 1

    def _server(self, server: Server, fault: Fault) -> bool:
        server.kill() if fault.sudden else server.stop()
        time.sleep(fault.down_s)
        server.start()
        return True

    def _child(self, fault: Fault) -> bool:
        children = _wait(lambda: sorted(self._stack.children()))
        if not children:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._rng.choice(children), signal.SIGKILL)
            return True
        return False

    def _worker(self, fault: Fault) -> bool:
        process = self._stack.workers[fault.worker].process
        children = self._computing(process.pid)
        if not fault.sudden:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
        process.kill()
        process.wait()
        time.sleep(fault.down_s)
        self._stack.restart_worker(fault.worker)
        self._look_for(children)
        return True

    def _pause(self, fault: Fault) -> bool:
        """Past its lease, wherever it is."""
        process = self._stack.workers[fault.worker].process
        children = self._computing(process.pid)
        process.send_signal(signal.SIGSTOP)
        self._look_for(children)
        process.send_signal(signal.SIGCONT)
        return True

    def _computing(self, worker: int) -> set[int]:
        """Wait until a training without end runs on that worker, which nothing but its watch ends. All its children."""

        def children() -> set[int]:
            found = self._stack.children_of(worker)
            return found if any(map(_endless, found)) else set()

        return _wait(children) or set()

    def _look_for(self, children: set[int]) -> None:
        """They have nobody to compute for, and end when a lease is over: one that does not is an orphan."""
        time.sleep(1.5 * self._stack.settings.lease_s)
        _wait(lambda: not children & self._stack.children())
        self.orphans |= children & self._stack.children()

    def _late_pause(self, fault: Fault) -> bool:
        """Past its lease, as it is about to publish, and until another has published what its job leaves."""
        holds = self._stack.holds
        ask_to_hold(holds)
        found = _wait(lambda: held(holds))
        if not found:
            (holds / "hold").unlink(missing_ok=True)
            found = held(holds)  # at the last moment
        if not found:
            return False
        pid, job, attempt = found
        _wait(lambda: not _stopped(pid) or self._published_since(job, attempt))
        with contextlib.suppress(ProcessLookupError):  # it was killed meanwhile
            os.kill(pid, signal.SIGCONT)
        return True

    def _published_since(self, job: str, attempt: int) -> bool:
        later = (attempts.c.job_id == job, attempts.c.number > attempt, attempts.c.outcome == AttemptOutcome.SUCCEEDED)
        with contextlib.suppress(Exception), read(self._engine) as connection:  # the database may be away as well
            return connection.scalar(select(attempts.c.number).where(*later)) is not None
        return False


def _endless(pid: int) -> bool:
    try:
        job = json.loads(Path(f"/proc/{pid}/cwd/job.json").read_text())
    except OSError:  # it has ended, or has not gone to its folder yet
        return False
    return job["params"].get("epochs") == ENDLESS


def _stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt"
    except OSError:
        return False


def _wait(condition: Callable[[], T]) -> T | None:
    """What the condition says once it is true, or None where it does not come true."""
    with contextlib.suppress(AssertionError):
        return servers.until(condition)
    return None
