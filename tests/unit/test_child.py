"""What a child is given and how it judges, without a worker: its GPUs, and which errors are a want of memory."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from robxfer_core.settings import Settings
from robxfer_worker import child
from robxfer_worker.child import failure
from robxfer_worker.main import make_slots

SETTLE = """
import json, os, sys
from robxfer_worker.child import _settle
_settle(json.loads(sys.argv[1]))
held = [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3, 20) if os.path.lexists(f"/proc/self/fd/{fd}")]
print(json.dumps([os.environ["CUDA_VISIBLE_DEVICES"], os.environ.get("CUBLAS_WORKSPACE_CONFIG"), held]))
"""


def slots(folder: Path, **settings: Any) -> list[tuple[str, ...]]:
    return [slot.gpus for slot in make_slots(Settings(data_dir=folder, **settings))]


def test_slots_share_the_gpus_that_the_worker_was_lent(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert slots(tmp_path, gpus=[1, 0]) == [("1",), ("0",)]
    assert slots(tmp_path, slots=2) == [(), ()]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,GPU-8f1e,5")
    assert slots(tmp_path, gpus=[0, 2]) == [("2",), ("GPU-8f1e",)]
    assert slots(tmp_path, gpus=[0, 1, 2, 3], gpus_per_slot=2, queues=["gpu2"]) == [("2", "3"), ("GPU-8f1e", "5")]
    with pytest.raises(ValueError, match="gpus: got 3, 4; takes 0 to 3, of CUDA_VISIBLE_DEVICES=2,3,GPU-8f1e,5"):
        slots(tmp_path, gpus=[3, 4])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert slots(tmp_path, slots=1) == [()]
    with pytest.raises(ValueError, match="gpus: got 0; takes none"):
        slots(tmp_path, gpus=[0])


def test_the_file_of_a_rank_runs_as_a_script():
    """As torchrun runs it: as no part of a package, so that relative imports would fail."""
    assert callable(runpy.run_path(str(Path(child.__file__).with_name("torchrun") / "rank.py"))["main"])


@pytest.mark.parametrize(("gpus", "visible"), [(["1"], "1"), (["2", "GPU-8f1e"], "2,GPU-8f1e"), ([], "")])
def test_a_child_sees_the_gpus_of_its_slot_alone_and_holds_their_locks(tmp_path, gpus, visible):
    work = tmp_path / "work/job"
    work.mkdir(parents=True)
    subprocess.run(
        [sys.executable, "-c", SETTLE, json.dumps({"work": str(work), "gpus": gpus})],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "7", "TMPDIR": str(tmp_path)},
        check=True,
    )
    seen, cublas, held = json.loads((work / "output.txt").read_text())
    assert (seen, cublas) == (visible, ":4096:8" if gpus else None)
    assert {str(tmp_path / f"robxfer-gpu-{gpu}.lock") for gpu in gpus} == {each for each in held if "lock" in each}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (MemoryError(), "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory"),
        (torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be"), "out_of_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "out_of_memory"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "failed"),
        (ValueError("CUDA error: out of memory"), "failed"),
    ],
)
def test_a_want_of_memory_is_told_as_one(error, outcome):
    assert failure(error)["outcome"] == outcome
