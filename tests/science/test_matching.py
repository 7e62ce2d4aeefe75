"""Representation matching: how near it comes, what it keeps, and what an image's result does not depend on."""

import pytest
import torch
from torch import Tensor

from robxfer_core.science import models
from robxfer_core.science.construct.matching import advance, begin, match, relative_distance
from robxfer_core.science.models import Network
from robxfer_core.science.support.noise import image_seeds, uniform
from robxfer_core.spec.fields import Arch


def network(dtype: torch.dtype = torch.float32) -> Network:
    made = models.build(Arch(name="cnn", width=0.5), 5, 1, 8, [0.5], [0.25], seed=3)
    return made.to(dtype)


def images(count: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return uniform(image_seeds(seed, torch.arange(count)), 64).view(count, 1, 8, 8).to(dtype)


def targets(net: Network, count: int) -> Tensor:
    """Of images that are not those the matching begins at."""
    with torch.no_grad():
        return net.eval().represent(images(count, 1, net.mean.dtype))


def test_the_distance_falls_below_a_bound() -> None:
    net, start = network(), images(6)
    target = targets(net, 6)
    found = match(net, start, target, steps=200, step_size=0.05)
    assert float(found.start.min()) > 0.35
    assert float(found.end.max()) < 0.1
    assert float(found.end.mean()) < 0.06
    assert float(found.x.min()) >= 0
    assert float(found.x.max()) <= 1
    with torch.no_grad():  # what is told is what an independent pass over the images gives
        away = torch.linalg.norm(net.represent(found.x) - target, dim=1) / torch.linalg.norm(target, dim=1)
    torch.testing.assert_close(found.end, away, rtol=1e-4, atol=1e-6)


def test_a_step_has_the_length_asked_for_and_leads_down_the_distance() -> None:
    net, start = network(), images(3) * 0.5 + 0.25
    target = targets(net, 3)
    moved = match(net, start, target, steps=1, step_size=0.01)
    torch.testing.assert_close((moved.last - start).flatten(1).norm(dim=1), torch.full((3,), 0.01))
    assert bool((moved.end < moved.start).all())
    # the length is that of each image's own step, whatever the scale of its distance
    for at, direction in enumerate(moved.last - start):
        leaf = start[at : at + 1].clone().requires_grad_()
        relative_distance(net, leaf, target[at : at + 1]).sum().backward()
        assert leaf.grad is not None
        cosine = torch.cosine_similarity(-leaf.grad.flatten(), direction.flatten(), dim=0)
        assert float(cosine) > 0.9999


def test_no_step_leaves_the_start() -> None:
    net, start = network(), images(4)
    found = match(net, start, targets(net, 4), steps=0, step_size=0.1)
    assert torch.equal(found.x, start)
    assert torch.equal(found.start, found.end)


def test_the_best_iterate_is_kept() -> None:
    net, start = network(), images(4)
    target = targets(net, 4)
    found = match(net, start, target, steps=20, step_size=3.0)  # too long a step swings
    state, nearest = begin(net, start, target), torch.full((4,), torch.inf)
    with torch.no_grad():
        for _ in range(21):
            nearest = torch.minimum(nearest, relative_distance(net, state.last, target))
            state = advance(net, state, target, steps=1, step_size=3.0)
        last = relative_distance(net, found.last, target)
    torch.testing.assert_close(found.end, nearest, rtol=1e-5, atol=1e-7)
    assert bool((found.end <= found.start).all())
    assert bool((last > found.end).any())
    # an image that is there already is left as it is
    with torch.no_grad():
        there = net.represent(start)
    assert torch.equal(match(net, start, there, steps=3, step_size=0.1).x, start)


def test_an_image_does_not_depend_on_its_batch() -> None:
    net = network(torch.float64)
    start, target = images(5, dtype=torch.float64), targets(net, 5)
    together = match(net, start, target, steps=30, step_size=0.05)
    alone = match(net, start[2:3], target[2:3], steps=30, step_size=0.05)
    torch.testing.assert_close(alone.x[0], together.x[2], rtol=0, atol=1e-9)


def test_pieces_are_the_whole_bit_for_bit() -> None:
    net, start = network(), images(3)
    target = targets(net, 3)
    whole = match(net, start, target, steps=12, step_size=0.2)
    state = begin(net, start, target)
    for steps in (5, 0, 1, 6):
        state = advance(net, state, target, steps=steps, step_size=0.2)
    for one, other in zip(whole, state, strict=True):
        assert torch.equal(one, other)


def test_the_network_is_left_as_it_was() -> None:
    net = network().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        target = network().eval().represent(images(4, 1))
    match(net, images(4), target, steps=3, step_size=0.1)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(weight.grad is None for weight in net.parameters())


def test_what_is_no_image_or_no_target_is_refused() -> None:
    net, start = network(), images(3)
    target = targets(net, 3)
    with pytest.raises(ValueError, match=r"lie in \[0,1\]"):
        match(net, start * 255, target, steps=1, step_size=0.1)
    with pytest.raises(ValueError, match=r"must be \[3, r\]"):
        match(net, start, target[:2], steps=1, step_size=0.1)
    target[1, 0] = torch.nan
    with pytest.raises(FloatingPointError, match=r"1 of 3 .*: \[1\]"):
        match(net, start, target, steps=1, step_size=0.1)
    still = match(net, start, torch.zeros_like(target), steps=5, step_size=0.05)  # no length to be relative to
    assert bool(still.end.isfinite().all())
