"""PGD against an independent implementation, closed forms, and the properties its callers rely on."""

import math
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from robxfer_core.science.attack.projected import pgd
from robxfer_core.science.noise import bits, drawn_seeds, image_seeds, normal, uniform
from robxfer_core.science.threat import ThreatModel, distance, draw, steepest

Norm = Literal["l2", "linf"]
NORMS: tuple[Norm, ...] = ("l2", "linf")


def small_net(seed: int = 0, classes: int = 4) -> nn.Sequential:
    """Images [N, 1, 5, 5]; smooth, so that two implementations do not part at a kink; sharp, so that attacks bite."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = nn.Linear(54, classes)
        head.weight.data.mul_(3)
        net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Tanh(), nn.Flatten(), head, nn.Dropout(0.5))
    return net.eval()


def images(n: int, seed: int = 0, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 1, 5, 5, generator=generator), torch.randint(classes, (n,), generator=generator)


def standing(net: nn.Module, x: Tensor, y: Tensor, targeted: bool) -> tuple[Tensor, Tensor]:
    """Success and what is climbed, of each image."""
    with torch.no_grad():
        logits = net(x)
        loss = F.cross_entropy(logits, y, reduction="none")
    hit = logits.argmax(1) == y
    return (hit, -loss) if targeted else (~hit, loss)


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
def test_an_image_gets_the_same_noise_in_any_batch(norm: Norm) -> None:
    net, (x, y) = small_net(), images(50)
    threat = ThreatModel(norm=norm, eps=0.5)

    def in_batches(size: int) -> Tensor:
        generator = torch.Generator().manual_seed(7)
        return torch.cat(
            [
                pgd(net, x[i : i + size], y[i : i + size], threat, 3, 0.1, False, True, 2, generator)
                for i in range(0, 50, size)
            ]
        )

    whole = in_batches(50)
    for size in (1, 7, 32):
        torch.testing.assert_close(in_batches(size), whole, atol=1e-4, rtol=0)
    seeds = image_seeds(3, torch.arange(50))
    assert torch.equal(draw(threat, x, seeds)[20:30], draw(threat, x[20:30], seeds[20:30]))
    assert torch.equal(seeds[20:30], image_seeds(3, torch.arange(20, 30)))


def test_drawn_seeds_follow_the_generator_alone() -> None:
    whole = drawn_seeds(torch.Generator().manual_seed(1), 200, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    parts = [drawn_seeds(generator, size, torch.device("cpu")) for size in (1, 15, 16, 17, 31, 120)]
    assert torch.equal(torch.cat(parts), whole)


def test_the_hash_is_splitmix64() -> None:
    """Against plain Python integers."""

    def mix(z: int) -> int:
        mask = 2**64 - 1
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        return z ^ (z >> 31)

    gamma, mask = 0x9E3779B97F4A7C15, 2**64 - 1
    for seed in (0, 1, 2**62 + 5):
        start = mix((mix(seed) + 3 * gamma) & mask)
        expected = [mix((start + (i + 1) * gamma) & mask) for i in range(5)]
        assert [z % 2**64 for z in bits(torch.tensor([seed]), 2, 5)[0].tolist()] == expected
    assert mix(gamma) == 0xE220A8397B1DCDAF  # the published first output of seed 0


def test_noise_is_uniform_in_the_ball() -> None:
    x, seeds = torch.zeros(4000, 1, 2, 3), image_seeds(0, torch.arange(4000))
    l2 = draw(ThreatModel(norm="l2", eps=2.0), x, seeds).flatten(1)
    volume = (l2.norm(dim=1) / 2).pow(6).sort().values  # the share of the ball that is farther in
    assert float((volume - torch.linspace(0, 1, 4000)).abs().max()) < 0.05
    assert float(volume.max()) <= 1 + 1e-5
    assert float(l2.mean(0).abs().max()) < 0.05
    torch.testing.assert_close(l2.T.cov(), torch.eye(6) * 4 / 8, atol=0.03, rtol=0)  # eps^2 / (d + 2)
    linf = draw(ThreatModel(norm="linf", eps=2.0), x, seeds).flatten()
    assert float((linf.sort().values - torch.linspace(-2, 2, len(linf))).abs().max()) < 0.05
    other = draw(ThreatModel(norm="linf", eps=2.0), x, seeds, stream=1).flatten()
    assert abs(float(torch.corrcoef(torch.stack([linf, other]))[0, 1])) < 0.03
    odd = normal(seeds, 7).flatten()
    assert float(odd.mean().abs()) < 0.02
    assert float(odd.std()) == pytest.approx(1, abs=0.02)
    assert float(uniform(seeds, 100).min()) > 0
    assert float(uniform(seeds, 100).max()) < 1


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


def test_steps_have_length_one_however_small_the_gradient() -> None:
    gradient = torch.randn(6, 1, 5, 5) * torch.tensor([1e-38, 1e-30, 1e-10, 1.0, 1e30, 0.0]).view(-1, 1, 1, 1)
    lengths = distance("l2", steepest("l2", gradient))
    torch.testing.assert_close(lengths, torch.tensor([1.0, 1, 1, 1, 1, 0]), atol=1e-4, rtol=0)
    assert torch.equal(distance("linf", steepest("linf", gradient)), torch.tensor([1.0, 1, 1, 1, 1, 0]))


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
