"""Several processes end a training as one does: equal steps, equal batch norm, equal numbers."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits

from robxfer_core.jobs.run import Input, Inputs, LocalRun
from robxfer_core.jobs.train import Train
from robxfer_core.science.data.artifact import Batch, write_shards
from robxfer_core.science.training.train import train

from .together import batch_norm

KEY = "0" * 64
SIZE = 3
PLAIN: dict[str, Any] = {
    "dataset": KEY,
    "arch": {"name": "cnn", "width": 0.5},
    "epochs": 2,
    "batch_size": 31,  # of 157 images that are not held out: the last batch has 2, and one process none of them
    "holdout": 0.215,
    "optimizer": {"lr": 0.05},
}
SPECS: dict[str, dict[str, Any]] = {
    "standard": PLAIN | {"augment": {"crop": 1, "flip": True}, "label_smoothing": 0.1, "ema": 0.9},
    "adversarial": PLAIN | {"threat": {"eps": 0.5}, "attack": {"steps": 2}, "holdout_attack_steps": 2},
    "free": PLAIN | {"method": "free", "free_replays": 2, "threat": {"eps": 0.5}, "holdout_attack_steps": 2},
    "fast": PLAIN | {"method": "fast", "eps_warmup": 0.5, "threat": {"eps": 0.5}, "holdout_attack_steps": 2},
    "untrained": PLAIN | {"epochs": 0},
}
SHAPES = {"even": (4, 4, 4), "uneven": (3, 2, 2), "empty": (1, 1, 0)}


def batch_of(counts: tuple[int, ...], dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)

    def drawn(n: int) -> torch.Tensor:
        return torch.randn(n, 5, 3, 3, generator=generator)

    # Means of a hundred deviations: where squares are summed without care, three digits go.
    return {
        "parts": [(100 + drawn(n)).to(dtype) for n in counts],
        "gradients": [drawn(n).to(dtype) for n in counts],
        "weight": 1 + torch.rand(5, generator=generator),
        "bias": torch.randn(5, generator=generator),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What SIZE processes made of all that is asked for here."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "data").mkdir()
    pixels, y = load_digits(n_class=3, return_X_y=True)
    x = np.rint(pixels.reshape(-1, 1, 8, 8) / 16 * 255).astype(np.uint8)
    splits = {"train": [Batch(x[:200], y[:200])], "test": [Batch(x[200:230], y[200:230])]}
    write_shards(folder / "data", name="digits", variant="standard", classes=list("012"), splits=splits)
    for name, counts in SHAPES.items():
        torch.save(batch_of(counts), folder / f"{name}.pt")
    asked = {name: {"spec": spec, "stop_at": None} for name, spec in SPECS.items()}
    asked["stopped"] = {"spec": SPECS["adversarial"], "stop_at": 8}
    asked["stopped-free"] = {"spec": SPECS["free"], "stop_at": 8}
    (folder / "trainings.json").write_text(json.dumps(asked))
    command = [sys.executable, "-m", "tests.science.together", str(folder)]
    processes = [subprocess.Popen([*command, str(rank), str(SIZE)]) for rank in range(SIZE)]
    try:
        assert [process.wait(200) for process in processes] == [0] * SIZE
    finally:
        for process in processes:
            process.kill()
    return folder


@pytest.mark.parametrize("name", SHAPES)
def test_batch_norm_is_that_of_the_whole_batch(folder: Path, name: str) -> None:
    batch = torch.load(folder / f"{name}.pt", weights_only=True)
    found = [torch.load(folder / f"{name}-{rank}.pt", weights_only=True) for rank in range(SIZE)]
    norm = batch_norm(batch["weight"], batch["bias"]).double()
    x = torch.cat(batch["parts"]).double().requires_grad_()
    out = norm(x)
    out.backward(torch.cat(batch["gradients"]).double())

    def same(value: torch.Tensor, expected: torch.Tensor | None) -> None:
        assert expected is not None
        torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-4)

    same(torch.cat([each["out"] for each in found]), out)
    same(torch.cat([each["x"] for each in found]), x.grad)
    same(torch.stack([each["weight"] for each in found]).sum(0), norm.weight.grad)  # DDP averages what each has
    same(torch.stack([each["bias"] for each in found]).sum(0), norm.bias.grad)
    for name in ("running_mean", "running_var"):
        same(found[0][name], norm.get_buffer(name))
        assert all(torch.equal(each[name], found[0][name]) for each in found)


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, LocalRun]:
    """The same trainings by one process."""
    runs = {name: LocalRun() for name in SPECS}
    for name, run in runs.items():
        train(Train.model_validate(SPECS[name]), Inputs({"dataset": [Input(folder / "data", KEY)]}), run)
    return runs


@pytest.mark.parametrize("name", SPECS)
def test_a_training_ends_as_that_of_one_process(folder: Path, alone: dict[str, LocalRun], name: str) -> None:
    one = alone[name].out
    for rank in range(SIZE):
        assert_close(folder / f"{name}-{rank}/out", one)
        assert (folder / f"{name}-{rank}/out/history.json").read_bytes() == (one / "history.json").read_bytes()


@pytest.mark.parametrize(("stopped", "name"), [("stopped", "adversarial"), ("stopped-free", "free")])
def test_another_number_of_processes_goes_on_from_the_checkpoint(
    folder: Path, alone: dict[str, LocalRun], stopped: str, name: str
) -> None:
    run = LocalRun(resume=folder / f"{stopped}-0/checkpoint-8")
    train(Train.model_validate(SPECS[name]), Inputs({"dataset": [Input(folder / "data", KEY)]}), run)
    assert_close(run.out, alone[name].out)
    last = max(epoch for metric, epoch in run.metrics if metric == "train_loss")
    assert run.metrics["train_loss", last] == pytest.approx(alone[name].metrics["train_loss", last], rel=1e-4)


def assert_close(out: Path, expected: Path) -> None:
    made, weights = (load_file(each / "model.safetensors") for each in (out, expected))
    assert made.keys() == weights.keys()
    for name, value in weights.items():
        torch.testing.assert_close(
            made[name], value, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )
