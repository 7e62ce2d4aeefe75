"""`python -m tests.steady`: the tests again and again on a machine that is busy, or has one core; `make steady`.

A test that counts on how far something else has come fails here sooner or later. Every run is reported, and the exit
status is 1 where any failed.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.service.killable import descendants

ROOT = Path(__file__).parents[1]
PROCESS_TESTS = ["tests/service", "tests/chaos", "tests/unit", "tests/science/test_distributed.py"]
"""Where the tests are that start processes."""
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")
IN_PAIRS = ("--numprocesses", "2", "--dist", "loadfile", "--no-loadscope-reorder")
BURN = "import ctypes, signal; ctypes.CDLL(None).prctl(1, signal.SIGKILL)\nwhile True: pass"
"""Keeps a core busy, until its parent ends."""
END_S = 120.0  # seconds that a run has to clean up after itself once its time is over


@dataclass(frozen=True)
class Run:
    """One run of the tests."""

    name: str
    command: tuple[str, ...]
    busy: bool = False
    """Whether as many processes as there are cores compute beside it."""
    pinned: bool = False
    """Whether it has one core, whatever it starts included."""


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.steady", description=__doc__)
    asked.add_argument("--busy", type=int, default=10, help="runs beside a load that keeps every core busy")
    asked.add_argument("--pinned", type=int, default=5, help="runs on one core")
    asked.add_argument("--whole", type=int, default=3, help="runs of `make test`")
    asked.add_argument("--limit-s", type=float, default=7200.0, help="seconds that a run may take")
    asked.add_argument("tests", nargs="*", default=PROCESS_TESTS, help="files, folders or names, of busy and pinned")
    options = asked.parse_args()
    runs = [Run("busy", (*PYTEST, *IN_PAIRS, *options.tests), busy=True)] * options.busy
    runs += [Run("pinned", (*PYTEST, *options.tests), pinned=True)] * options.pinned
    runs += [Run("whole", ("make", "test"))] * options.whole
    failed = 0
    for number, run in enumerate(runs, 1):
        began = time.monotonic()
        status, last = perform(run, options.limit_s)
        failed += status != 0
        result = "passed" if status == 0 else "FAILED"
        print(f"{number}/{len(runs)} {run.name}: {result} in {time.monotonic() - began:.0f} s: {last}", flush=True)
    print(f"{len(runs) - failed} of {len(runs)} runs passed", flush=True)
    return 1 if failed else 0


def perform(run: Run, limit_s: float) -> tuple[int, str]:
    """Run it within its time. Its exit status, and the last line that it printed.

    Where it failed, all that it printed is printed. What it started is ended with it.
    """
    cores = os.sched_getaffinity(0)
    with contextlib.ExitStack() as beside:
        if run.busy:
            beside.enter_context(load(len(cores)))
        if run.pinned:
            os.sched_setaffinity(0, {min(cores)})  # what is started inherits it
            beside.callback(os.sched_setaffinity, 0, cores)
        process = subprocess.Popen(
            run.command,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            printed, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            printed = end(process) + f"\nit took longer than {limit_s:.0f} s"
        except BaseException:
            end(process)
            raise
    if process.returncode != 0:
        print(printed, flush=True)
    return process.returncode, ([line for line in printed.splitlines() if line.strip()] or [""])[-1]


def end(process: subprocess.Popen[str]) -> str:
    """Interrupt a run, so that its tests end what they started, and kill what is left. What it had printed."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        printed, _ = process.communicate(timeout=END_S)
    except subprocess.TimeoutExpired:
        for pid in [process.pid, *descendants(process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        printed, _ = process.communicate()
    return printed


@contextmanager
def load(cores: int) -> Iterator[None]:
    """Keep so many cores busy."""
    burning = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(cores)]
    try:
        yield
    finally:
        for process in burning:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
