"""Auto-PGD and its losses: closed forms, the ball and the box, and never weaker than PGD where that is easy to see."""

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robxfer_core.science.attacks.apgd import LossName, apgd, apgd_targeted, checkpoints
from robxfer_core.science.attacks.losses import dlr, margin, targeted_dlr
from robxfer_core.science.attacks.pgd import fgsm, pgd
from robxfer_core.science.attacks.threat import ThreatModel, distance

Norm = Literal["l2", "linf"]
Kind = Literal["ce", "dlr", "t"]
NORMS: tuple[Norm, ...] = ("l2", "linf")
LOSSES: tuple[LossName, ...] = ("ce", "dlr")


def small_net(classes: int = 5) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = nn.Linear(54, classes)
        head.weight.data.mul_(3)
        net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), head, nn.Dropout(0.5))
    return net.eval()


def images(net: nn.Module, n: int, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Images, and as labels what the net says of them."""
    x = torch.rand(n, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return x, net(x).argmax(1)


def loss_at(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return F.cross_entropy(net(x), y, reduction="none")


def linear(w: Tensor) -> nn.Module:
    """Logits (0, <w, x>)."""
    head = nn.Linear(w.numel(), 2, bias=False)
    head.weight.data = torch.stack([torch.zeros_like(w), w])
    return nn.Sequential(nn.Flatten(), head)


@pytest.mark.parametrize("loss", LOSSES)
def test_linear_model_closed_form(loss: LossName) -> None:
    """Of two classes, so that DLR is the margin."""
    w = torch.randn(16, generator=torch.Generator().manual_seed(1))
    x, y, seeds = torch.full((2, 1, 4, 4), 0.5), torch.tensor([0, 1]), torch.arange(2)
    away = torch.stack([w, -w]).view(2, 1, 4, 4)  # raising the margin hurts class 0
    l2 = apgd(linear(w), x, y, ThreatModel(norm="l2", eps=0.3), 50, loss, seeds=seeds)
    # The step size falls to 2 eps / 2^k, and the loss is flat to second order around the best point of the sphere.
    torch.testing.assert_close(l2, x + 0.3 * away / w.norm(), atol=5e-4, rtol=0)
    linf = apgd(linear(w), x, y, ThreatModel(norm="linf", eps=0.1), 50, loss, seeds=seeds)
    torch.testing.assert_close(linf, x + 0.1 * away.sign(), atol=1e-6, rtol=0)
    reached = apgd(linear(w), x, 1 - y, ThreatModel(norm="linf", eps=0.1), 50, loss, targeted=True, seeds=seeds)
    torch.testing.assert_close(reached, linf, atol=1e-6, rtol=0)  # of two classes one is left for the other
    targeted = apgd_targeted(linear(w), x, y, ThreatModel(norm="linf", eps=0.1), 50, seeds=seeds)
    wrong = linear(w)(linf).argmax(1) != y
    torch.testing.assert_close(targeted[wrong], linf[wrong], atol=1e-6, rtol=0)


@settings(max_examples=30, deadline=None)
@given(
    norm=st.sampled_from(NORMS),
    eps=st.floats(0, 3),
    steps=st.integers(1, 12),
    kind=st.sampled_from(["ce", "dlr", "t"]),
    restarts=st.integers(1, 2),
)
def test_stays_in_ball_and_box(
    norm: Norm, eps: float, steps: int, kind: Literal["ce", "dlr", "t"], restarts: int
) -> None:
    net = small_net()
    x, y = images(net, 6)
    threat, seeds = ThreatModel(norm=norm, eps=eps), torch.arange(6)
    if kind == "t":
        moved = apgd_targeted(net, x, y, threat, steps, 2, restarts, seeds=seeds)
    else:
        moved = apgd(net, x, y, threat, steps, kind, restarts=restarts, seeds=seeds)
    assert float(distance(norm, moved - x).max()) <= eps * (1 + 1e-5) + 1e-6
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1
    if eps == 0:
        assert torch.equal(moved, x)


@pytest.mark.parametrize("norm", NORMS)
def test_reaches_at_least_the_loss_of_pgd(norm: Norm) -> None:
    """Averaged over images; PGD with a step that suits a tenth of this eps stays behind, APGD finds its own."""
    net = small_net()
    x, y = images(net, 64)
    eps = 0.7 if norm == "l2" else 0.2
    threat, seeds = ThreatModel(norm=norm, eps=eps), torch.arange(64)
    ours = loss_at(net, apgd(net, x, y, threat, 40, "ce", seeds=seeds), y).mean()
    tuned = loss_at(net, pgd(net, x, y, threat, 40, 2.5 * eps / 40, random_start=True, seeds=seeds), y).mean()
    poor = loss_at(net, pgd(net, x, y, threat, 40, 2.5 * eps / 400, random_start=True, seeds=seeds), y).mean()
    assert ours > 0.99 * tuned
    assert ours > poor + 0.05


@pytest.mark.parametrize("loss", LOSSES)
def test_targeted_reaches_the_class_that_is_named(loss: LossName) -> None:
    net = small_net()
    x, y = images(net, 64)
    threat, target = ThreatModel(norm="l2", eps=1.0), (y + 1) % 5
    moved = apgd(net, x, target, threat, 20, loss, targeted=True, seeds=torch.arange(64))
    left = apgd(net, x, y, threat, 20, loss, seeds=torch.arange(64))
    reached = [(net(each).argmax(1) == target).float().mean() for each in (moved, left, x)]
    assert reached[0] > max(0.8, reached[1] + 0.3)
    assert reached[2] == 0


def test_a_generator_gives_each_image_its_seed() -> None:
    net = small_net()
    x, y = images(net, 12)
    threat = ThreatModel(norm="linf", eps=0.1)
    once, again = (apgd(net, x, y, threat, 5, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(once, again)
    carried = torch.Generator().manual_seed(3)
    parts = [apgd(net, x[at], y[at], threat, 5, generator=carried) for at in torch.arange(12).split(5)]
    torch.testing.assert_close(torch.cat(parts), once)
    assert not torch.equal(once, apgd(net, x, y, threat, 5, generator=torch.Generator().manual_seed(4)))


def test_targeted_fools_whatever_one_target_fools() -> None:
    net = small_net()
    x, y = images(net, 64)
    threat, seeds = ThreatModel(norm="linf", eps=0.05), torch.arange(64)
    left = [(net(apgd_targeted(net, x, y, threat, 20, n, seeds=seeds)).argmax(1) == y) for n in (1, 2, 9)]
    assert not (left[1] & ~left[0]).any()
    assert not (left[2] & ~left[1]).any()
    assert 0 < left[2].sum() < left[0].sum() < 64


def test_leaves_the_model_and_the_batch_alone() -> None:
    net = small_net().train()
    x, y = images(net.eval(), 20)
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    threat, seeds = ThreatModel(norm="l2", eps=0.5), torch.arange(20)
    whole = apgd(net, x, y, threat, 10, seeds=seeds)
    parts = [apgd(net, x[at], y[at], threat, 10, seeds=seeds[at]) for at in torch.arange(20).split(7)]
    torch.testing.assert_close(torch.cat(parts), whole)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(weight.grad is None for weight in net.parameters())
    with pytest.raises(FloatingPointError, match="NaN for 20 of 20"):
        apgd(lambda x: net(x) * torch.nan, x, y, threat, 3, seeds=seeds)
    with pytest.raises(ValueError, match="got 'cw'; takes ce or dlr"):
        apgd(net, x, y, threat, 3, "cw", seeds=seeds)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"must lie in \[0,1\]"):
        apgd_targeted(net, x * 255, y, threat, 3, seeds=seeds)


def test_checkpoints_are_those_of_the_paper() -> None:
    # w_j = ceil(p_j * 100) with p_0 = 0, p_1 = .22, p_{j+1} = p_j + max(p_j - p_{j-1} - .03, .06)
    assert list(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(checkpoints(3)) == [1, 2, 3]
    assert max(checkpoints(1000)) <= 1000


def test_dlr_ignores_shift_and_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, y = torch.randn(50, 6, generator=generator), torch.randint(6, (50,), generator=generator)
    target = (y + 1) % 6
    for shift, scale in ((3.0, 1.0), (0.0, 7.0), (-2.0, 0.1)):
        moved = scale * logits + shift
        torch.testing.assert_close(dlr(moved, y), dlr(logits, y), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(
            targeted_dlr(moved, y, target), targeted_dlr(logits, y, target), atol=1e-4, rtol=1e-4
        )
    assert torch.equal(dlr(logits, y) > 0, logits.argmax(1) != y)


def test_known_values() -> None:
    logits, y = torch.tensor([[5.0, 1.0, 3.0, 2.0]]), torch.tensor([0])
    assert margin(logits, y).item() == 3 - 5
    assert dlr(logits, y).item() == pytest.approx((3 - 5) / (5 - 2))
    assert dlr(logits, torch.tensor([2])).item() == pytest.approx((5 - 3) / (5 - 2))
    assert targeted_dlr(logits, y, torch.tensor([3])).item() == pytest.approx((2 - 5) / (5 - (2 + 1) / 2))
    # Below the classes that they need, the margin.
    assert dlr(logits[:, :2], y).item() == 1 - 5
    assert targeted_dlr(logits[:, :3], y, torch.tensor([1])).item() == 1 - 5


def test_fgsm_is_one_step_and_its_end() -> None:
    w = torch.randn(16, generator=torch.Generator().manual_seed(1))
    x, y = torch.full((2, 1, 4, 4), 0.5), torch.tensor([0, 1])
    away = torch.stack([w, -w]).view(2, 1, 4, 4).sign()
    linf = ThreatModel(norm="linf", eps=0.1)
    torch.testing.assert_close(fgsm(linear(w), x, y, linf, 0.04), x + 0.04 * away)
    far = fgsm(linear(w), x, y, linf, 0.4, seeds=torch.arange(2))
    torch.testing.assert_close(far, x + 0.1 * away)
