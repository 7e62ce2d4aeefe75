"""A job of several devices: the child has torchrun start a process for each, and passes on what they say.

All are forked from the child, which has everything loaded. A rank (rank.py) comes to the child's door, a socket in the
attempt's folder: up go lines as on the child's own channel, from rank 0, and from each rank its `end`; down goes one
empty line, to rank 0, when the job has to stop. By the kernel's hand torchrun dies with the child and the ranks with
torchrun. They inherit the locks of the GPUs, which so are held until the last of them has ended.
"""

import ctypes
import json
import os
import selectors
import signal
import socket
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .ending import memory_kills

if TYPE_CHECKING:
    from .child import ChildRun

DOOR = "ranks.sock"
LISTEN_S = 0.2  # seconds between looks at whether the job has to stop
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
                self.end = entry["end"]
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
    kills, told = memory_kills(), False
    with selectors.DefaultSelector() as selector:
        selector.register(door, selectors.EVENT_READ)
        assert torchrun.pid is not None
        ended = os.pidfd_open(torchrun.pid)
        selector.register(ended, selectors.EVENT_READ)
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
            end = _end(voices, ranks, memory_kills() > kills)
            if end is None and heard == {ended}:
                end = _failed("Exit", "torchrun ended before its ranks")
            if end is not None:
                return end


def _end(voices: list[_Voice], ranks: int, starved: bool) -> dict[str, Any] | None:
    """How the job ended, if it did: what went wrong first, for that is what brought the other ranks down."""
    for voice in voices:
        if voice.gone and voice.end is None:
            end = _failed("Killed", f"rank {voice.rank} ended without a word")
            return {**end, "outcome": "out_of_memory"} if starved else end
    ends = [voice.end for voice in voices if voice.end is not None]
    others = [end for end in ends if end["outcome"] != "succeeded"]
    if others:
        return min(others, key=lambda end: end["at"])
    return ends[0] if len(ends) == ranks else None


def _failed(name: str, message: str) -> dict[str, Any]:
    return {"outcome": "failed", "error": {"class": name, "message": message}}
