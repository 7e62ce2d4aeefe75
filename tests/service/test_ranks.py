"""How a job of two ranks ends where one of them goes wrong: with that one's error, and with no wait for the other."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .servers import alive

CASES = [(one, other) for one in ("raises", "is killed") for other in ("waits for it", "sleeps")]
CODE = """
import json, os, signal, socket, sys, time
from pathlib import Path
import torch
import torch.distributed as dist
from robxfer_worker import child, ranks

def attempt(job, run):
    Path(f"pid-{run.rank}").write_text(str(os.getpid()))
    dist.all_reduce(torch.zeros(1))
    if run.rank == 1:
        if one == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return child.failure(FloatingPointError("here alone"))
    if other == "sleeps":
        time.sleep(1000)
    try:
        dist.all_reduce(torch.zeros(1))
    except Exception as error:
        return child.failure(error)

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
    subprocess.run([sys.executable, "-c", CODE, json.dumps(CASES)], cwd=folder, timeout=200, check=True)
    return folder


@pytest.mark.parametrize(("one", "other"), CASES)
def test_what_went_wrong_first_is_told(folder: Path, one: str, other: str):
    case = folder / f"{one}-{other}"
    end = json.loads((case / "end.json").read_text())
    told = (end["error"]["class"], end["error"]["message"])
    expected = {"raises": ("FloatingPointError", "here alone"), "is killed": ("Killed", "rank 1 ended without a word")}
    assert (end["outcome"], told) == ("failed", expected[one])
    if other == "sleeps":  # else both have ended when torchrun looks, and it may name either
        assert ("SIGKILL" in (case / "output.txt").read_text()) == (one == "is killed")
    assert not any(alive(int((case / f"pid-{rank}").read_text())) for rank in (0, 1))
