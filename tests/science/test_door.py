"""What other code imports: the README's own lines, run as they stand."""

import re
from pathlib import Path

import torch

from robxfer_core.science import models
from robxfer_core.science.attacks.threat import distance
from robxfer_core.spec.fields import Arch

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_attacks_of_the_readme_run() -> None:
    (code,) = (each for each in re.findall(r"```python\n(.*?)```", README, re.S) if "science.attack" in each)
    network = models.build(Arch(name="cnn", width=0.25), 4, 1, 8, [0.5], [0.5], seed=0)
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    seen: dict[str, object] = {"model": network, "x": x, "y": torch.tensor([0, 1, 2])}
    exec(code, seen)
    moved = seen["x_adv"]
    assert isinstance(moved, torch.Tensor)
    assert moved.shape == x.shape
    assert 0 < float(distance("l2", moved - x).max()) <= 0.5 + 1e-5
