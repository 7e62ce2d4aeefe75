"""Randomness by counting: a number is a hash of (the image's seed, stream, position), so it depends on nothing else.

An image gets the same noise whatever batch it is in, at whatever place, and on whatever device; nothing has to be
remembered to resume. The hash is splitmix64 (Steele, Lea, Flood 2014), in int64 arithmetic that wraps.
"""

import math

import torch
from torch import Tensor


def _signed(value: int) -> int:
    """The int64 with the same low 64 bits."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


_GAMMA = _signed(0x9E3779B97F4A7C15)
_MIX1 = _signed(0xBF58476D1CE4E5B9)
_MIX2 = _signed(0x94D049BB133111EB)


def _shift(z: Tensor, by: int) -> Tensor:
    # torch shifts int64 arithmetically; the hash needs zeros from the left
    return (z >> by).bitwise_and_(2 ** (64 - by) - 1)


def _mix(z: Tensor) -> Tensor:
    z = _shift(z, 30).bitwise_xor_(z).mul_(_MIX1)
    z = _shift(z, 27).bitwise_xor_(z).mul_(_MIX2)
    return _shift(z, 31).bitwise_xor_(z)


def image_seeds(seed: int, indices: Tensor) -> Tensor:
    """A seed for each image of a data set: int64 [N], from a seed and the images' places in the set (int64 [N])."""
    start = _mix(torch.tensor(_signed(seed), device=indices.device))
    return _mix(start + (indices + 1) * _GAMMA)


def drawn_seeds(generator: torch.Generator | None, count: int, device: torch.device) -> Tensor:
    """`count` seeds from a generator, one draw each.

    Going through a data set in order with one CPU generator, an image gets the same seed whatever the batch size.
    """
    source = generator.device if generator is not None else torch.device("cpu")
    return torch.randint(2**63 - 1, (count,), generator=generator, device=source).to(device)


def bits(seeds: Tensor, stream: int, count: int) -> Tensor:
    """int64 [N, count], all 64 bits uniform. Streams of one seed are independent of each other."""
    start = _mix(_mix(seeds) + _signed(_GAMMA * (stream + 1)))
    steps = torch.arange(1, count + 1, device=seeds.device) * _GAMMA
    return _mix(start[:, None] + steps)


def _unit(z: Tensor, shift: int) -> Tensor:
    # 24 bits fill a float32's mantissa; the half keeps 0 and 1 out, so that a logarithm is safe.
    return (z >> shift).bitwise_and_(0xFFFFFF).float().add_(0.5).mul_(2.0**-24)


def uniform(seeds: Tensor, count: int, stream: int = 0) -> Tensor:
    """float32 [N, count], uniform in (0, 1)."""
    return _unit(bits(seeds, stream, count), 40)


def normal(seeds: Tensor, count: int, stream: int = 0) -> Tensor:
    """float32 [N, count], standard normal (Box-Muller: each hash gives two)."""
    z = bits(seeds, stream, (count + 1) // 2)
    radius = _unit(z, 40).log_().mul_(-2).sqrt_()
    angle = _unit(z, 8).mul_(2 * math.pi)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], 1)[:, :count]
