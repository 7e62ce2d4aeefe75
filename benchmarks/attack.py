"""PGD and APGD against the passes they cannot do without: the share of their own arithmetic."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from robxfer_core.science.attacks.apgd import apgd
from robxfer_core.science.attacks.pgd import evaluating, pgd
from robxfer_core.science.attacks.threat import ThreatModel
from robxfer_core.science.models import build
from robxfer_core.spec.fields import Arch

from .timing import median

STEPS = 7


def run() -> Iterator[dict[str, Any]]:
    """Image-steps a second of each attack, and seconds over those of as many bare forward and backward passes."""
    nets = ((Arch(name="cnn", width=0.75), 1, 16, 64), (Arch(name="resnet18_cifar", width=0.125), 3, 32, 64))
    for arch, channels, side, batch in nets:
        network = build(arch, 10, channels, side, [0.5] * channels, [0.25] * channels, 0)
        generator = torch.Generator().manual_seed(0)
        x, y = torch.rand(batch, channels, side, side, generator=generator), torch.arange(batch) % 10

        def bare(network: torch.nn.Module = network, x: torch.Tensor = x, y: torch.Tensor = y) -> None:
            with evaluating(network):
                for _ in range(STEPS):
                    moved = x.clone().requires_grad_()
                    torch.autograd.grad(F.cross_entropy(network(moved), y, reduction="sum"), moved)

        for norm, eps in (("l2", 1.0), ("linf", 8 / 255)):
            threat = ThreatModel(norm=norm, eps=eps)  # pyright: ignore[reportArgumentType] - both are norms

            def projected(
                network: torch.nn.Module = network,
                x: torch.Tensor = x,
                y: torch.Tensor = y,
                threat: ThreatModel = threat,
            ) -> None:
                pgd(network, x, y, threat, steps=STEPS, step_size=2.5 * threat.eps / STEPS, random_start=True)

            def automatic(
                network: torch.nn.Module = network,
                x: torch.Tensor = x,
                y: torch.Tensor = y,
                threat: ThreatModel = threat,
            ) -> None:
                apgd(network, x, y, threat, steps=STEPS, loss="ce", seeds=y)

            least = median(bare)
            for name, attack in (("pgd", projected), ("apgd", automatic)):
                seconds = median(attack)
                yield {
                    "model": f"{arch.name} x {arch.width:g} at {side}",
                    "attack": name,
                    "norm": norm,
                    "image_steps_per_s": round(batch * STEPS / seconds),
                    "over_bare_passes": round(seconds / least, 3),
                }
