"""How an attempt ended, judged from what the child said and how its process went."""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robxfer_core.spec.records import ErrorRecord

TAIL_LINES = 20
TAIL_BYTES = 8192
CGROUP_EVENTS = Path("/sys/fs/cgroup/memory.events")


@dataclass(frozen=True)
class Ending:
    """An attempt's outcome, and its error where there is one to show."""

    outcome: str
    error: ErrorRecord | None = None


def judge(code: int, end: dict[str, Any] | None, reason: str | None, kills: int, output: Path) -> Ending:
    """Weigh a child's exit code, its last word, and why it was told to stop (None: it was not).

    A child that was done before it heard of stopping has succeeded. One that ended otherwise after it was told to stop
    was stopped, whatever it says. A death by SIGKILL that was not ours is taken for want of memory only where the
    kernel counts a kill more than the `kills` at the child's start.
    """
    if end is not None and end["outcome"] == "succeeded":
        return Ending("succeeded")
    if reason is not None:
        return told(reason, output)
    if end is not None:
        return Ending(end["outcome"], _with_tail(end["error"], output) if end.get("error") else None)
    if code >= 0:
        return Ending(
            "failed", _with_tail({"class": "Exit", "message": f"the process ended with status {code}"}, output)
        )
    error: ErrorRecord = {"class": "Killed", "message": f"the process was ended by {signal_name(-code)}"}
    starved = code == -signal.SIGKILL and memory_kills() > kills
    return Ending("out_of_memory" if starved else "failed", _with_tail(error, output))


def told(reason: str, output: Path) -> Ending:
    """The ending of an attempt that was told to stop. A deadline that was passed is an error of the job's."""
    if reason != "timed_out":
        return Ending(reason)
    return Ending(reason, _with_tail({"class": "TimedOut", "message": "it took longer than its deadline_s"}, output))


def memory_kills() -> int:
    """Processes of this container that the kernel killed for want of memory so far; 0 where it does not say."""
    try:
        lines = CGROUP_EVENTS.read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _with_tail(error: ErrorRecord, output: Path) -> ErrorRecord:
    """The error with the last lines that the process printed, if it printed any."""
    try:
        with output.open("rb") as file:
            file.seek(max(0, output.stat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return error
    lines = text.splitlines()[-TAIL_LINES:]
    return {**error, "output": lines} if lines else error


def signal_name(number: int) -> str:
    """A signal as people write it: SIGKILL."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
