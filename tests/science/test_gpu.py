"""What a CUDA device has to give: the same bits twice, the CPU's results within rounding, and nothing of other devices.

Jobs run in a process of their own, set up as the worker sets up a child. `make gpu` runs these tests.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from robxfer_core.jobs.run import Inputs
from robxfer_core.science.support import noise

from .training import digits, spec_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
CHILD = """
import json, sys
from pathlib import Path
import torch
from robxfer_core.jobs.run import LocalRun
from robxfer_worker import child

job = json.loads(sys.argv[1])
child._settle(job)
child._set_torch(threads=1)
end = child.attempt(job, LocalRun(Path("run"), device=job["device"])) if "kind" in job else None
Path("seen.json").write_text(json.dumps({"end": end, "devices": torch.cuda.device_count()}))
"""


def first_gpu() -> str:
    """The device that torch calls cuda:0, as CUDA_VISIBLE_DEVICES names it."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]


def child(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    """Run a process set up as a worker's child, in a new folder, and return what it saw."""
    work = folder / "slot" / "job"
    work.mkdir(parents=True)
    job = {"work": str(work), "gpus": [first_gpu()], "device": "cuda:0", "inputs": {}} | job
    subprocess.run([sys.executable, "-P", "-c", CHILD, json.dumps(job)], check=True, timeout=240)
    return json.loads((work / "seen.json").read_text())


def train(folder: Path, inputs: Inputs, **job: Any) -> Path:
    """Train adversarially at l2 eps 0.8 and return the folder of the result."""
    spec = spec_of(epochs=6, threat={"norm": "l2", "eps": 0.8}, attack={"steps": 3}, holdout_attack_steps=3)
    dataset = inputs.one("dataset")
    given = {"dataset": [{"path": str(dataset.path), "key": dataset.key}]}
    seen = child(folder, {"kind": "train", "params": spec.params(), "inputs": given} | job)
    assert seen["end"] == {"outcome": "succeeded"}
    return folder / "slot" / "job" / "run" / "out"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return digits(tmp_path_factory.mktemp("gpu") / "digits", [0, 1, 2, 3, 4])


def test_the_same_training_gives_the_same_bits_twice(inputs: Inputs, tmp_path: Path) -> None:
    once, again = (train(tmp_path / name, inputs) for name in ("once", "again"))
    for name in ("model.safetensors", "result.json"):
        assert (once / name).read_bytes() == (again / name).read_bytes()


def test_adversarial_training_agrees_with_the_cpu(inputs: Inputs, tmp_path: Path) -> None:
    gpu, cpu = (
        json.loads((out / "result.json").read_text())["holdout"]
        for out in (
            train(tmp_path / "gpu", inputs),
            train(tmp_path / "cpu", inputs, gpus=[], device="cpu"),
        )
    )
    # Convolutions multiply in TF32 on a GPU, and six epochs make more of the difference.
    assert gpu["clean"][-1] == pytest.approx(cpu["clean"][-1], abs=0.05)
    assert gpu["robust"][-1] == pytest.approx(cpu["robust"][-1], abs=0.1)


def test_an_image_has_the_same_noise_on_both_devices() -> None:
    places = torch.arange(1000)
    seeds = noise.image_seeds(7, places)
    assert torch.equal(noise.image_seeds(7, places.cuda()).cpu(), seeds)
    assert torch.equal(noise.bits(seeds.cuda(), 1, 33).cpu(), noise.bits(seeds, 1, 33))
    assert torch.allclose(noise.normal(seeds.cuda(), 33).cpu(), noise.normal(seeds, 33), atol=1e-5)


def test_a_child_sees_the_devices_of_its_slot_alone(tmp_path: Path) -> None:
    assert child(tmp_path / "with", {})["devices"] == 1
    assert child(tmp_path / "without", {"gpus": []})["devices"] == 0
