"""Noise belongs to an image and not to its batch, and is what it is said to be; steps have length one."""

import pytest
import torch
from torch import Tensor

from robxfer_core.science.attacks.pgd import pgd
from robxfer_core.science.attacks.threat import ThreatModel, distance, draw, steepest
from robxfer_core.science.support.noise import bits, drawn_seeds, image_seeds, normal, uniform

from .attacked import NORMS, Norm, images, small_net


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


def test_steps_have_length_one_however_small_the_gradient() -> None:
    gradient = torch.randn(6, 1, 5, 5) * torch.tensor([1e-38, 1e-30, 1e-10, 1.0, 1e30, 0.0]).view(-1, 1, 1, 1)
    lengths = distance("l2", steepest("l2", gradient))
    torch.testing.assert_close(lengths, torch.tensor([1.0, 1, 1, 1, 1, 0]), atol=1e-4, rtol=0)
    assert torch.equal(distance("linf", steepest("linf", gradient)), torch.tensor([1.0, 1, 1, 1, 1, 0]))
