"""PGD against an independent implementation, closed forms, and what it promises of its best image."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robxfer_core.science.attacks.pgd import pgd
from robxfer_core.science.attacks.threat import ThreatModel, distance, draw
from robxfer_core.science.support.noise import image_seeds

from .attacked import NORMS, Norm, images, small_net, standing


def naive(
    net: nn.Module, x: Tensor, label: int, start: Tensor, norm: Norm, eps: float, steps: int, size: float, aim: int
):
    """One image [1, C, H, W], plain loops over scalars; aim +1 climbs the loss of `label`, -1 descends it."""

    def forward(pixels: list[float]) -> tuple[float, bool, list[float]]:
        leaf = torch.tensor(pixels).view(x.shape).requires_grad_()
        logp = net(leaf)[0].log_softmax(0)
        (-logp[label]).backward()
        assert leaf.grad is not None
        hit = int(logp.argmax()) == label
        return -logp[label].item() * aim, hit if aim < 0 else not hit, (leaf.grad.flatten() * aim).tolist()

    centre, now = x.flatten().tolist(), start.flatten().tolist()
    best: tuple[bool, float] | None = None
    kept = now
    for step in range(steps + 1):
        climbed, success, gradient = forward(now)
        if best is None or (success, climbed) > best:
            best, kept = (success, climbed), now
        if step == steps:
            break
        length = math.sqrt(sum(g * g for g in gradient))
        moves = [g / length if norm == "l2" else math.copysign(1, g) for g in gradient]
        away = [p + size * m - c for p, m, c in zip(now, moves, centre, strict=True)]
        if norm == "l2":
            far = math.sqrt(sum(a * a for a in away))
            away = [a * min(1.0, eps / far) for a in away]
        else:
            away = [min(eps, max(-eps, a)) for a in away]
        now = [min(1.0, max(0.0, c + a)) for c, a in zip(centre, away, strict=True)]
    return torch.tensor(kept).view(x.shape), best


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("random_start", [False, True])
def test_agrees_with_a_naive_implementation(norm: Norm, targeted: bool, random_start: bool) -> None:
    net, (x, y) = small_net(), images(12)
    threat = ThreatModel(norm=norm, eps=0.8 if norm == "l2" else 0.15)
    size = threat.eps / 4
    seeds = torch.arange(12)
    start = (x + draw(threat, x, seeds)).clamp(0, 1) if random_start else x
    ours = pgd(net, x, y, threat, 9, size, targeted, random_start, seeds=seeds)
    success, climbed = standing(net, ours, y, targeted)
    for i in range(len(x)):
        aim = -1 if targeted else 1
        theirs, best = naive(net, x[i : i + 1], int(y[i]), start[i : i + 1], norm, threat.eps, 9, size, aim)
        assert best is not None
        assert bool(success[i]) == best[0]
        assert float(climbed[i]) == pytest.approx(best[1], rel=1e-4, abs=1e-4)
        torch.testing.assert_close(ours[i : i + 1], theirs, atol=2e-4, rtol=0)
    assert success.sum() > standing(net, x, y, targeted)[0].sum()  # the attack did something


@pytest.mark.parametrize("sign", [1, -1])
def test_linear_model_closed_form(sign: int) -> None:
    w = torch.randn(16, generator=torch.Generator().manual_seed(1))

    def model(x: Tensor) -> Tensor:
        margin = x.flatten(1) @ w
        return torch.stack([torch.zeros_like(margin), margin], 1)

    x, y = torch.full((2, 1, 4, 4), 0.5), torch.tensor([0, 1])
    away = torch.stack([w, -w]).view(2, 1, 4, 4) * sign  # raising the margin hurts class 0
    targeted = sign < 0
    l2 = pgd(model, x, y, ThreatModel(norm="l2", eps=0.3), 20, 0.1, targeted)
    torch.testing.assert_close(l2, x + 0.3 * away / w.norm(), atol=1e-6, rtol=0)
    linf = pgd(model, x, y, ThreatModel(norm="linf", eps=0.1), 20, 0.03, targeted)
    torch.testing.assert_close(linf, x + 0.1 * away.sign(), atol=1e-6, rtol=0)
    edge = pgd(model, x * 0 + 0.95, y, ThreatModel(norm="linf", eps=0.1), 20, 0.03, targeted)
    torch.testing.assert_close(edge, (0.95 + 0.1 * away.sign()).clamp(max=1), atol=1e-6, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    norm=st.sampled_from(NORMS),
    eps=st.floats(0, 3),
    step_size=st.floats(1e-4, 5),
    steps=st.integers(1, 5),
    targeted=st.booleans(),
    random_start=st.booleans(),
    restarts=st.integers(1, 3),
    seed=st.integers(0, 1000),
    corners=st.booleans(),
)
def test_stays_in_ball_and_box_and_never_does_worse_than_its_start(
    norm: Norm,
    eps: float,
    step_size: float,
    steps: int,
    targeted: bool,
    random_start: bool,
    restarts: int,
    seed: int,
    corners: bool,
) -> None:
    net, (x, y) = small_net(seed % 5), images(6, seed)
    if corners:
        x = x.round()
    threat = ThreatModel(norm=norm, eps=eps)
    seeds = image_seeds(seed, torch.arange(6))
    out = pgd(net, x, y, threat, steps, step_size, targeted, random_start, restarts, seeds=seeds)
    assert out.shape == x.shape
    assert 0 <= float(out.min()) <= float(out.max()) <= 1
    assert float(distance(norm, out - x).max()) <= eps + 1e-5
    start = (x + draw(threat, x, seeds)).clamp(0, 1) if random_start else x
    success, climbed = standing(net, out, y, targeted)
    success0, climbed0 = standing(net, start, y, targeted)
    assert (success >= success0).all()
    assert (climbed >= climbed0 - 1e-4)[success == success0].all()


@pytest.mark.parametrize("targeted", [False, True])
def test_returns_the_best_of_all_iterates_and_restarts(targeted: bool) -> None:
    net, (x, y) = small_net(), images(30)
    seen: list[Tensor] = []

    def model(z: Tensor) -> Tensor:
        seen.append(z.detach().clone())
        return net(z)

    # Steps as long as the ball is wide: the loss goes up and down.
    out = pgd(
        model, x, y, ThreatModel(norm="linf", eps=0.3), 5, 0.6, targeted, True, 3, torch.Generator().manual_seed(0)
    )
    assert len(seen) == 18
    standings = [standing(net, z, y, targeted) for z in seen]
    keys = torch.stack([success * 100.0 + climbed for success, climbed in standings])
    assert keys.argmax(0).unique().numel() >= 3  # not always the same one, and not the last
    assert not (keys.argmax(0) == 17).any()
    expected = torch.stack(seen)[keys.argmax(0), torch.arange(30)]
    success, climbed = standing(net, out, y, targeted)
    torch.testing.assert_close(success * 100.0 + climbed, keys.max(0).values)
    assert torch.equal(out, expected)


def test_success_beats_a_larger_loss() -> None:
    def model(x: Tensor) -> Tensor:
        # The loss of class 0 is larger at pixel 0 (right, but unsure) than at 1 (wrong by a hair, of fewer rivals).
        at = x.flatten(1).sum(1, keepdim=True)
        start, end = torch.tensor([[1.0, 0.9, 0.9, 0.9]]), torch.tensor([[0.0, 0.1, -9.0, -9.0]])
        return start + at * (end - start) + torch.stack([at[:, 0] * 0] * 4, 1)

    x, y = torch.zeros(1, 1, 1, 1), torch.zeros(1, dtype=torch.int64)
    start_loss, end_loss = (F.cross_entropy(model(z), y) for z in (x, x + 1))
    assert start_loss > end_loss
    # The gradient points away from pixel 1, so it is met by random starts alone, if at all.
    out = pgd(
        model, x, y, ThreatModel(norm="linf", eps=1.0), 1, 1e-3, False, False, 50, torch.Generator().manual_seed(0)
    )
    assert int(model(out).argmax()) == 1


def test_a_restart_never_makes_a_sample_worse() -> None:
    net, (x, y) = small_net(), images(40)
    threat, seeds = ThreatModel(norm="l2", eps=0.3), image_seeds(0, torch.arange(40))
    before = standing(net, x, y, False)
    for restarts in (1, 2, 4):
        now = standing(net, pgd(net, x, y, threat, 2, 0.2, False, True, restarts, seeds=seeds), y, False)
        if restarts > 1:
            assert (now[0] >= before[0]).all()
            assert (now[1] >= before[1] - 1e-6)[now[0] == before[0]].all()
        before = now


@pytest.mark.parametrize("norm", NORMS)
def test_zero_gradients_and_no_ball(norm: Norm) -> None:
    x, y = images(5)

    def flat(z: Tensor) -> Tensor:
        return torch.zeros(len(z), 3) + z.sum() * 0

    threat = ThreatModel(norm=norm, eps=0.5)
    assert torch.equal(pgd(flat, x, y % 3, threat), x)
    assert pgd(flat, x, y % 3, threat, random_start=True).isfinite().all()
    assert torch.equal(pgd(small_net(), x, y, ThreatModel(norm=norm, eps=0.0), random_start=True), x)
    assert pgd(small_net(), x[:0], y[:0], threat).shape == (0, 1, 5, 5)
