"""One of the processes that compute a job together: torchrun runs this file in each, `rank.py PARENT`."""

import json
import os
import signal
import socket
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

# In full, for torchrun runs this file as a script, which belongs to no package.
from robxfer_worker.child import ChildRun, attempt, failure
from robxfer_worker.torchrun.launcher import DOOR, TERMINATED, die_with

TIMEOUT = timedelta(minutes=30)
"""For one exchange between ranks. That one has died is noticed sooner, by torchrun and by those who talk to it."""


def main(number: int, size: int) -> None:
    """Compute with the others, in the attempt's folder, and tell the child how it ended."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # before any thread starts, for _terminate
    die_with(int(sys.argv[1]))
    channel = socket.socket(socket.AF_UNIX)
    channel.connect(DOOR)
    job = json.loads(Path("job.json").read_text())
    run = ChildRun(job, channel, number, size)
    if job["gpus"]:
        run.device = f"cuda:{number}"
    if number > 0:  # what rank 0 leaves is published
        run.out = Path(f"out-{number}")
        run.out.mkdir()
    run.say(rank=number)
    threading.Thread(target=_watch, args=(channel, run), daemon=True).start()
    threading.Thread(target=_terminate, args=(run,), daemon=True).start()
    try:
        end = _attempt(job, run)
    except Exception as error:
        end = failure(error)
    if "error" in end:
        end["error"]["rank"] = number
    run.say(end={**end, "at": time.monotonic()})
    os._exit("error" in end)


def _attempt(job: dict[str, Any], run: ChildRun) -> dict[str, Any]:
    if job["gpus"]:
        torch.cuda.set_device(run.device)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if job["gpus"] else "gloo",
        init_method=f"file://{Path('ranks.store').absolute()}",
        rank=run.rank,
        world_size=run.ranks,
        timeout=TIMEOUT,
    )
    end = attempt(job, run)
    if "error" not in end:
        dist.all_reduce(torch.zeros(()))  # nobody leaves while another may still need it
    return end


def _watch(channel: socket.socket, run: ChildRun) -> None:
    while channel.recv(1):
        run.stopping = True
    os.kill(os.getpid(), signal.SIGKILL)


def _terminate(run: ChildRun) -> None:
    """End when torchrun asks for it, as it does where another rank fails, and say so: a killed rank says nothing.

    By a thread, since the main one may be waiting for the others, and Python's handlers run in that one alone.
    """
    signal.sigwait({signal.SIGTERM})
    run.say(end={"outcome": TERMINATED, "at": time.monotonic()})
    os._exit(1)


if __name__ == "__main__":
    main(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
