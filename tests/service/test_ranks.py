"""How a job of two ranks ends where one of them goes wrong: with that one's error, and with no wait for the other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .servers import PATIENCE_S, ROOT, alive, until

CASES = [(one, other) for one in ("raises", "is killed") for other in ("waits for it", "sleeps")]
CASES.append(("is killed unseen", "waits for it"))
CODE = """
import json, os, signal, socket, sys, time
from pathlib import Path
import torch
import torch.distributed as dist
from robxfer_worker import child
from robxfer_worker.torchrun import launcher as ranks
from tests.service.servers import alive

def attempt(job, run):
    Path(f"pid-{run.rank}").write_text(str(os.getpid()))
    dist.all_reduce(torch.zeros(1))
    if run.rank == 1:
        if one == "is killed unseen" and os.fork() == 0:
            keep_open(run._channel.fileno())
        if "killed" in one:
            os.kill(os.getpid(), signal.SIGKILL)
        return child.failure(FloatingPointError("here alone"))
    if other == "sleeps":
        time.sleep(1000)
    try:
        dist.all_reduce(torch.zeros(1))
    except Exception as error:
        return child.failure(error)

def keep_open(channel):
    # Holds the channel of a rank that was killed until the other has said what it saw of that, and has ended.
    os.closerange(3, channel)
    os.closerange(channel + 1, 1 << 16)
    while alive(int(Path("pid-0").read_text())):
        time.sleep(0.01)
    os._exit(0)

child.attempt = attempt
job = {"key": "0" * 64, "out": "out", "work": ".", "gpus": [], "device": "cpu"}
job |= {"data_root": None, "fetch_hosts": [], "resume": None, "checkpoint_s": 60}
for one, other in json.loads(sys.argv[1]):
    folder = Path(f"{one}-{other}")
    folder.mkdir()
    os.chdir(folder)
    Path("job.json").write_text(json.dumps(job))
    os.dup2(os.open("output.txt", os.O_WRONLY | os.O_CREAT), 2)
    Path("end.json").write_text(json.dumps(ranks.lead(2, child.ChildRun(job, socket.socketpair()[0]))))
    os.chdir("..")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    command, paths = [sys.executable, "-P", "-c", CODE, json.dumps(CASES)], {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=folder, env=paths, timeout=PATIENCE_S, check=True)
    return folder


@pytest.mark.parametrize(("one", "other"), CASES)
def test_what_went_wrong_first_is_told(folder: Path, one: str, other: str):
    case = folder / f"{one}-{other}"
    end = json.loads((case / "end.json").read_text())
    told = (end["error"]["class"], end["error"]["message"])
    killed = ("Killed", "rank 1 ended without a word")
    assert (end["outcome"], told) == ("failed", killed if "killed" in one else ("FloatingPointError", "here alone"))
    if other == "sleeps":  # else both have ended when torchrun looks, and it may name either
        assert ("SIGKILL" in (case / "output.txt").read_text()) == (one == "is killed")
    until(lambda: not any(alive(int((case / f"pid-{rank}").read_text())) for rank in (0, 1)))
