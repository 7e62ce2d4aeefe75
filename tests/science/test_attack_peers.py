"""PGD and APGD beside torchattacks: robust accuracy of one network on digits at the same steps."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from robxfer_core.science.attacks.apgd import apgd, apgd_targeted
from robxfer_core.science.attacks.pgd import pgd
from robxfer_core.science.attacks.threat import ThreatModel, distance

torchattacks = pytest.importorskip("torchattacks", reason="compares with torchattacks, which is not installed")
pytestmark = pytest.mark.peers

STEPS = 40
STARTS = {"ce": range(20), "dlr": range(20), "dlr_t": range(2)}
"""Seeds of the random starts. One start's accuracy has a standard deviation of .8 points on the untargeted losses, so a
mean of twenty one of .2, and of their difference .25; nine targets leave nothing to the start."""


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A small CNN trained on 797 digits, and the other 1,000."""
    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(pixels / 16, dtype=torch.float32).view(-1, 1, 8, 8)[order]
    y = torch.tensor(labels, dtype=torch.int64)[order]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(512, 10),
        )
        optimizer = torch.optim.Adam(net.parameters(), 2e-3)
        for _ in range(40):
            for batch in torch.randperm(797).split(64):
                optimizer.zero_grad()
                F.cross_entropy(net(x[batch]), y[batch]).backward()
                optimizer.step()
    return net.eval(), x[797:], y[797:]


@pytest.mark.parametrize(
    ("norm", "eps"), [("linf", 0.05), ("linf", 0.1), ("linf", 0.15), ("l2", 0.25), ("l2", 0.5), ("l2", 0.8)]
)
def test_robust_accuracy_agrees(trained: tuple[nn.Module, Tensor, Tensor], norm: str, eps: float) -> None:
    net, x, y = trained
    size = 2.5 * eps / STEPS
    attack = torchattacks.PGD if norm == "linf" else torchattacks.PGDL2
    theirs = attack(net, eps=eps, alpha=size, steps=STEPS, random_start=False)(x, y)
    ours = pgd(net, x, y, ThreatModel.model_validate({"norm": norm, "eps": eps}), STEPS, size)
    assert float(distance(norm, ours - x).max()) <= eps + 1e-5
    with torch.no_grad():
        clean, peer, own = ((net(images).argmax(1) == y).float().mean().item() for images in (x, theirs, ours))
    print(f"{norm} eps {eps:g}: clean {clean:.1%}, torchattacks {peer:.1%}, ours {own:.1%}")
    assert clean > 0.95
    assert abs(peer - own) <= 0.005


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("linf", 0.15), ("l2", 0.5), ("l2", 0.8)])
@pytest.mark.parametrize("kind", ["ce", "dlr", "dlr_t"])
def test_apgd_agrees(trained: tuple[nn.Module, Tensor, Tensor], kind: str, norm: str, eps: float) -> None:
    net, x, y = trained
    x, y = x[:400], y[:400]
    found: list[tuple[float, float]] = []
    for seed in STARTS[kind]:
        theirs, ours = _theirs(net, x, y, kind, norm, eps, seed), _ours(net, x, y, kind, norm, eps, seed)
        assert float(distance(norm, ours - x).max()) <= eps + 1e-5
        with torch.no_grad():
            peer, own = ((net(images).argmax(1) == y).float().mean().item() for images in (theirs, ours))
        found.append((peer, own))
    peer, own = (sum(column) / len(column) for column in zip(*found, strict=True))
    print(f"apgd {kind} {norm} eps {eps:g}: torchattacks {peer:.2%}, ours {own:.2%}")
    assert 0.02 < own < 0.95
    assert abs(peer - own) <= 0.01


def _theirs(net: nn.Module, x: Tensor, y: Tensor, kind: str, norm: str, eps: float, seed: int) -> Tensor:
    given = {"norm": "Linf" if norm == "linf" else "L2", "eps": eps, "steps": STEPS, "seed": seed}
    if kind == "dlr_t":
        return torchattacks.APGDT(net, n_classes=10, **given)(x, y)
    return torchattacks.APGD(net, loss=kind, **given)(x, y)


def _ours(net: nn.Module, x: Tensor, y: Tensor, kind: str, norm: str, eps: float, seed: int) -> Tensor:
    threat, seeds = ThreatModel.model_validate({"norm": norm, "eps": eps}), seed * len(x) + torch.arange(len(x))
    if kind == "dlr_t":
        return apgd_targeted(net, x, y, threat, STEPS, seeds=seeds)
    return apgd(net, x, y, threat, STEPS, "dlr" if kind == "dlr" else "ce", seeds=seeds)
