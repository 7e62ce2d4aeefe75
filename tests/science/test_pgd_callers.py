"""What callers of PGD rely on: their model as it was, refusals that name what is wrong, steps without a wait."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from robxfer_core.science.attacks.pgd import pgd
from robxfer_core.science.attacks.threat import ThreatModel, distance

from .attacked import images, small_net


def test_leaves_the_model_as_it_was() -> None:
    net, (x, y) = small_net(), images(8)
    net.train()
    net[1].eval()  # a frozen layer inside a network in training
    net[0].weight.requires_grad_(False)
    modes = [module.training for module in net.modules()]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    threat = ThreatModel(norm="l2", eps=0.5)

    def check() -> None:
        assert [module.training for module in net.modules()] == modes
        assert all(p.grad is None for p in net.parameters())
        assert [p.requires_grad for p in net.parameters()] == [False, True, True, True, True, True]
        assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())

    out = pgd(net, x, y, threat)
    check()
    assert not out.requires_grad
    net.eval()
    assert torch.equal(out, pgd(net, x, y, threat))  # dropout was off
    for module, mode in zip(net.modules(), modes, strict=True):
        module.training = mode
    with pytest.raises(IndexError):
        pgd(net, x, y + 100, threat)
    check()
    with torch.no_grad():
        assert torch.equal(out, pgd(net, x, y, threat))
    check()


def test_works_under_bf16_autocast() -> None:
    net, (x, y) = small_net(), images(32)
    threat = ThreatModel(norm="l2", eps=0.6)
    with torch.autocast("cpu", torch.bfloat16):
        out = pgd(net, x, y, threat, random_start=True)
    assert out.dtype == torch.float32
    assert float(distance("l2", out - x).max()) <= 0.6 + 1e-5
    right = (net(x).argmax(1) == y).sum(), (net(out).argmax(1) == y).sum()
    assert right[1] < right[0]


def test_refuses_what_are_no_images() -> None:
    net, (x, y) = small_net(), images(4)
    threat = ThreatModel(norm="l2", eps=0.5)
    with pytest.raises(ValueError, match=r"lie in \[0,1\], got values from .* to 255"):
        pgd(net, torch.where(x == x.max(), 255.0, x), y, threat)
    with pytest.raises(ValueError, match="got values from nan"):
        pgd(net, torch.where(x == x.max(), torch.nan, x), y, threat)
    with pytest.raises(ValueError, match="uint8"):
        pgd(net, (x * 255).to(torch.uint8), y, threat)
    with pytest.raises(ValueError, match="labels"):
        pgd(net, x, y[:3], threat)
    nearly = torch.where(x == x.max(), 1 + 3e-8, torch.where(x == x.min(), -3e-8, x))
    assert float(pgd(net, nearly, y, threat).max()) <= 1


def test_nan_names_its_samples() -> None:
    net, (x, y) = small_net(), images(6)
    net.train()
    x[2], x[5] = 0.0, 0.0

    def model(z: Tensor) -> Tensor:
        logits = net(z)
        return torch.where(((z == 0).flatten(1).all(1))[:, None], torch.nan, logits)

    with pytest.raises(FloatingPointError, match=r"NaN for 2 of 6 samples of a batch: \[2, 5\]"):
        pgd(model, x, y, ThreatModel(norm="l2", eps=0.5))
    assert net.training


class Waits(TorchDispatchMode):
    """Counts operations that make the host wait for the device."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.__name__.split(".")[0] in ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "item")
        return func(*args, **(kwargs or {}))


def test_no_step_waits_for_the_device() -> None:
    net, (x, y) = small_net(), images(6)
    seeds = torch.arange(6)
    counts = []
    for steps, restarts in ((1, 1), (6, 3)):
        with Waits() as waits:
            pgd(net, x, y, ThreatModel(norm="l2", eps=0.5), steps, 0.1, False, True, restarts, seeds=seeds)
        counts.append(waits.count)
    assert counts[0] == counts[1] > 0
