"""Norm balls around images [N, C, H, W]: draw in one, step in one, come back into one. Pure and without host sync."""

import torch
from torch import Tensor

from robxfer_core.science.support import noise
from robxfer_core.spec.fields import ThreatModel

__all__ = ["ThreatModel", "distance", "draw", "into_ball", "project", "steepest"]


def _per_image(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))


def distance(norm: str, delta: Tensor) -> Tensor:
    """Each image's norm, [N], of a perturbation [N, ...], in pixel units."""
    return torch.linalg.vector_norm(delta.flatten(1), 2 if norm == "l2" else torch.inf, dim=1)


def draw(threat: ThreatModel, x: Tensor, seeds: Tensor, stream: int = 0) -> Tensor:
    """A perturbation of x's shape, uniform in the ball, from each image's seed (int64 [N]).

    l2: a uniform direction (a normal vector, normalised), at a radius of eps * U**(1/d) in d dimensions.
    """
    size = x[0].numel()
    if threat.norm == "linf":
        delta = noise.uniform(seeds, size, stream).mul_(2).sub_(1).mul_(threat.eps)
    else:
        direction = noise.normal(seeds, size, 2 * stream)
        radius = noise.uniform(seeds, 1, 2 * stream + 1).pow_(1 / size).mul_(threat.eps)
        delta = direction * (radius / torch.linalg.vector_norm(direction, dim=1, keepdim=True))
    return delta.view(x.shape).to(x.dtype)


def steepest(norm: str, gradient: Tensor) -> Tensor:
    """For each image the direction of norm 1 along which a loss of this gradient rises fastest; 0 where it is 0."""
    if norm == "linf":
        return gradient.sign()
    # A confident network's gradients are tiny; their squares would underflow, so they are scaled to 1 first.
    floor = torch.finfo(gradient.dtype).tiny
    scaled = gradient / _per_image(distance("linf", gradient).clamp_min(floor), gradient)
    return scaled / _per_image(distance("l2", scaled).clamp_min(floor), gradient)


def into_ball(threat: ThreatModel, delta: Tensor) -> Tensor:
    """The nearest perturbation within the ball."""
    if threat.norm == "linf":
        return delta.clamp(-threat.eps, threat.eps)
    tiny = torch.finfo(delta.dtype).tiny
    return delta * _per_image((threat.eps / distance("l2", delta).clamp_min(tiny)).clamp_max(1), delta)


def project(threat: ThreatModel, moved: Tensor, x: Tensor) -> Tensor:
    """Bring moved images into the ball around x and the box [0,1]; x must lie in the box.

    The box comes last: clamping a point towards a box that holds the centre brings no coordinate farther from it, so
    the result stays in the ball.
    """
    return (x + into_ball(threat, moved - x)).clamp(0, 1)
