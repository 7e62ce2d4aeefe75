"""What runs in an attempt's own process: science, with no database, no store, no secrets, and a thread that watches.

The channel carries lines. Down: the path of the job file, then an empty line each time that the lease was renewed. Up:
JSON objects of one entry, `progress`, `metric`, `log`, `checkpoint`, and at last `end`. A job of several devices is
computed by processes of its own, see ranks.py.
"""

import fcntl
import json
import os
import select
import signal
import socket
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.run import Input, Inputs, Preempted, Run
from robxfer_core.science.training.distributed import Team

from .torchrun.launcher import lead

PROGRESS_S = 0.2  # seconds between reports of progress
TRACE_LINES = 30
MEMORY = ("DefaultCPUAllocator: can't allocate memory", "CUDA error: out of memory", "_ALLOC_FAILED")
"""What torch says of a want of memory for which it has no class: the CPU's, CUDA's own, that of cuBLAS and its like."""


class ChildRun(Run):
    """A run whose words go up the channel. Of several processes the first alone speaks, and decides for all."""

    def __init__(self, job: dict[str, Any], channel: socket.socket, rank: int = 0, ranks: int = 1) -> None:
        self.rank, self.ranks = rank, ranks
        self.key = job["key"]
        self.device = job["device"]
        self.out = Path(job["out"])
        self.data_root = Path(job["data_root"]) if job["data_root"] else None
        self.fetch_hosts = tuple(job["fetch_hosts"])
        self.resume = Path(job["resume"]) if job["resume"] else None
        self.stopping = False
        """Whether the job was told to stop."""
        self._last = False
        """Whether it stops with the checkpoint that is due."""
        self._team = Team(rank, ranks)
        self._channel = channel
        self._folder = Path(job["work"])
        self._interval = float(job["checkpoint_s"])
        self._checkpointed = time.monotonic()
        self._checkpoints = 0
        self._progressed = 0.0
        self._lock = threading.Lock()

    def say(self, **entry: Any) -> None:
        """Send one entry up the channel: of all but the first process, only what concerns itself."""
        if self.rank > 0 and not entry.keys() & {"rank", "end"}:
            return
        with self._lock:
            self._channel.sendall(json.dumps(entry).encode() + b"\n")

    def close(self) -> None:
        """Let go of the channel, in a process that has inherited it."""
        self._channel.close()

    def progress(self, done: int, total: int, unit: str) -> None:
        at = time.monotonic()
        if done >= total or at - self._progressed >= PROGRESS_S:
            self._progressed = at
            self.say(progress={"done": done, "total": total, "unit": unit})

    def metric(self, name: str, step: int, value: float) -> None:
        self.say(metric=[name, step, float(value)])

    def log(self, line: str) -> None:
        print(line, flush=True)  # so that it is among the last lines of one that fails
        self.say(log=line)

    def checkpoint_due(self) -> bool:
        due = time.monotonic() - self._checkpointed >= self._interval
        due, self._last = self._team.agree(due or self.stopping, self.stopping)
        return due

    def checkpoint(self, write: Callable[[Path], None]) -> None:
        if self.rank == 0:
            self._checkpoints += 1
            folder = self._folder / f"checkpoint-{self._checkpoints}"
            folder.mkdir()
            write(folder)
            self.say(checkpoint=str(folder))
        self._checkpointed = time.monotonic()
        if self._last:
            raise Preempted


def main(channel: socket.socket) -> int:
    """Run the job that the channel names and return the exit code: 0 when the `end` was said, whatever it was."""
    path = channel.makefile("rb", buffering=0).readline().decode().strip()
    if not path:
        return 0  # the supervisor changed its mind
    job = json.loads(Path(path).read_text())
    threading.Thread(target=_watch, args=(channel, job["lease_s"]), daemon=True).start()
    run = ChildRun(job, channel)

    def stop(*_: Any) -> None:
        run.stopping = True

    signal.signal(signal.SIGTERM, stop)
    _settle(job)
    _set_torch(job["threads"])
    run.say(end=lead(job["ranks"], run) if job["ranks"] > 1 else attempt(job, run))
    return 0


def _settle(job: dict[str, Any]) -> None:
    """Give the process its folder, its output and its devices, whose locks it holds until it ends."""
    os.chdir(job["work"])
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ["MPLCONFIGDIR"] = str(
        Path(job["work"]).parents[1] / "matplotlib"
    )  # its font cache takes seconds to make
    if not job["gpus"]:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(job["gpus"])
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # what makes cuBLAS deterministic
    lock_gpus(job["gpus"])


def lock_gpus(gpus: list[str]) -> None:
    """Hold the locks of GPUs, each its own, until this process and all that inherit from it have ended.

    So an orphan's GPU is not used again. Waits for whoever holds one; in one order, so that no two wait for each other.
    """
    for gpu in sorted(gpus):
        path = Path(tempfile.gettempdir()) / f"robxfer-gpu-{gpu.replace('/', '-')}.lock"
        try:
            fd = os.open(path, os.O_RDONLY)  # that of another user can be locked, but not be written to
        except FileNotFoundError:
            fd = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
        os.set_inheritable(fd, True)
        fcntl.flock(fd, fcntl.LOCK_EX)


def _set_torch(threads: int) -> None:
    """How every process of ours computes: with so many threads, and deterministically."""
    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation.*")
    torch.use_deterministic_algorithms(True, warn_only=True)
    deterministic: Any = torch.utils.deterministic  # it adds its attributes at run time
    deterministic.fill_uninitialized_memory = False  # or every fresh tensor is filled, to no use of ours
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def attempt(job: dict[str, Any], run: Run) -> dict[str, Any]:
    """Compute the job, and return how that ended: the outcome, and the error if there was one."""
    inputs = Inputs(
        {field: [Input(Path(i["path"]), i["key"]) for i in group] for field, group in job["inputs"].items()}
    )
    try:
        compute(job["kind"], job["params"], inputs, run)
    except Preempted:
        return {"outcome": "preempted"}
    except Exception as error:
        return failure(error)
    return {"outcome": "succeeded"}


def failure(error: Exception) -> dict[str, Any]:
    """How an attempt ended that raised an error."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    outcome = "out_of_memory" if _is_memory(error) else "failed"
    described = {"class": type(error).__name__, "message": str(error)[:2000], "trace": lines[-TRACE_LINES:]}
    return {"outcome": outcome, "error": described}


def _is_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in MEMORY)


def _watch(channel: socket.socket, silence: float) -> None:
    """Kill the whole group when the supervisor is gone, or has not held its lease for as long as a lease lasts."""
    while True:
        ready, _, _ = select.select([channel], [], [], silence)
        if not ready or not channel.recv(4096):
            os.killpg(0, signal.SIGKILL)
