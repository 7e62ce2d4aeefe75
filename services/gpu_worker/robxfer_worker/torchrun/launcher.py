"""A job of several devices: the child has torchrun start a process for each, and passes on what they say.

All are forked from the child, which has everything loaded. A rank (rank.py) comes to the child's door, a socket in the
attempt's folder: up go lines as on the child's own channel, from rank 0, and from each rank its `end`; down goes one
empty line, to rank 0, when the job has to stop. By the kernel's hand torchrun dies with the child and the ranks with
torchrun. They inherit the locks of the GPUs, which so are held until the last of them has ended.
"""

import ctypes
import json
import math
import os
import selectors
import signal
import socket
import time
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robxfer_worker.outcome import memory_kills, signal_name

if TYPE_CHECKING:
    from robxfer_worker.child import ChildRun

DOOR = "ranks.sock"
LISTEN_S = 0.2  # seconds between looks at whether the job has to stop
SETTLE_S = 10.0  # seconds that the other ranks have to end once one has gone wrong; torchrun kills in 30
TERMINATED = "terminated"
"""The outcome of a rank that torchrun has ended, because of another."""
SUMMARY_S = 20.0  # seconds that torchrun has to print which of its ranks failed, and how
PR_SET_PDEATHSIG = 1


class _Voice:
    """What one rank has said."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.rank: int | None = None
        self.end: dict[str, Any] | None = None
        self.gone = False
        self._rest = b""

    @property
    def silent(self) -> bool:
        """Whether it ended without a word."""
        return self.gone and self.end is None

    @property
    def over(self) -> bool:
        """Whether it has ended, or is about to."""
        return self.gone or self.end is not None

    def hear(self) -> list[dict[str, Any]]:
        """What it says to those who wait for the job."""
        piece = self.channel.recv(1 << 16)
        self.gone = not piece
        *lines, self._rest = (self._rest + piece).split(b"\n")
        said = []
        for line in lines:
            entry = json.loads(line)
            if "rank" in entry:
                self.rank = entry["rank"]
            elif "end" in entry:
                self.end = self.end or entry["end"]
            else:
                said.append(entry)
        return said


def lead(ranks: int, run: "ChildRun") -> dict[str, Any]:
    """Have the job of this folder computed by so many ranks. Returns how that ended, as `child.attempt` does."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(DOOR)
        door.listen(ranks)
        torchrun = get_context("fork").Process(target=_torchrun, args=(ranks, os.getpid(), run, door))
        torchrun.start()
        voices: list[_Voice] = []  # open until the end, for a rank whose channel closes kills itself
        try:
            end = _listen(door, voices, torchrun, ranks, run)
            if "error" in end:
                torchrun.join(SUMMARY_S)
            return end
        finally:
            torchrun.kill()
            torchrun.join()


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, however that ends."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def _torchrun(ranks: int, parent: int, run: "ChildRun", door: socket.socket) -> None:
    die_with(parent)
    run.close()
    door.close()
    from torch.distributed.run import main

    # Nothing listens beyond this machine: they meet in files, and talk by the loopback interface.
    os.environ.update(GLOO_SOCKET_IFNAME="lo", NCCL_SOCKET_IFNAME="lo", TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")
    how = ["--nnodes=1", f"--nproc-per-node={ranks}", "--max-restarts=0", "--start-method=fork", "--run-path"]
    meet = ["--rdzv-backend=c10d", "--rdzv-conf=store_type=file", "--rdzv-endpoint=torchrun.store", "--rdzv-id=job"]
    script = Path(__file__).with_name("rank.py").absolute()
    main([*how, *meet, "--local-addr=127.0.0.1", str(script), str(os.getpid())])


def _listen(
    door: socket.socket, voices: list[_Voice], torchrun: BaseProcess, ranks: int, run: "ChildRun"
) -> dict[str, Any]:
    kills, told, limit = memory_kills(), False, math.inf
    with selectors.DefaultSelector() as selector:
        selector.register(door, selectors.EVENT_READ)
        assert torchrun.pid is not None
        ended = os.pidfd_open(torchrun.pid)
        selector.register(ended, selectors.EVENT_READ)
        try:
            while True:
                heard = {key.fileobj for key, _ in selector.select(LISTEN_S)}
                for voice in voices:
                    if voice.channel in heard:
                        for entry in voice.hear():
                            run.say(**entry)
                        if voice.gone:
                            selector.unregister(voice.channel)
                    if run.stopping and not told and voice.rank == 0:
                        voice.channel.sendall(b"\n")
                        told = True
                if door in heard:
                    channel, _ = door.accept()
                    voices.append(_Voice(channel))
                    selector.register(channel, selectors.EVENT_READ)
                if limit == math.inf and any(map(_went_wrong, voices)):
                    limit = time.monotonic() + SETTLE_S
                over = len(voices) == ranks and all(voice.over for voice in voices)
                if over or heard == {ended} or time.monotonic() >= limit:
                    return _judge(voices, torchrun.exitcode, memory_kills() > kills)
        finally:
            os.close(ended)


def _went_wrong(voice: _Voice) -> bool:
    return voice.silent or (voice.end is not None and "error" in voice.end)


def _judge(voices: list[_Voice], torchrun: int | None, starved: bool) -> dict[str, Any]:
    """How the job ended, by what went wrong first, for that is what brought the others down.

    A process that was killed says nothing, and its neighbours may report their broken connections before its own is
    seen to close; so a silent end goes before every error. Of errors the earliest counts, by the machine's one clock.

    Args:
        voices: The ranks that have come to the door.
        torchrun: Its exit code, minus the signal that ended it; None while it runs.
        starved: Whether the kernel has killed a process of this container for want of memory meanwhile.
    """
    if torchrun is not None and torchrun < 0:
        return _killed(f"torchrun was ended by {signal_name(-torchrun)}", starved)
    for voice in voices:
        if voice.silent:
            name = "a rank" if voice.rank is None else f"rank {voice.rank}"
            return _killed(f"{name} ended without a word", starved)
    ends = [voice.end for voice in voices if voice.end is not None and voice.end["outcome"] != TERMINATED]
    errors = [end for end in ends if "error" in end]
    if errors:
        return min(errors, key=lambda end: end["at"])
    return ends[0] if ends and len(ends) == len(voices) else _failed("Exit", "torchrun ended before its ranks")


def _killed(message: str, starved: bool) -> dict[str, Any]:
    end = _failed("Killed", message)
    return {**end, "outcome": "out_of_memory"} if starved else end


def _failed(name: str, message: str) -> dict[str, Any]:
    return {"outcome": "failed", "error": {"class": name, "message": message}}
