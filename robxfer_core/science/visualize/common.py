"""What both modes share: the noise that images begin at, representations of many images, the fake ReLU."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from robxfer_core.science.attacks.pgd import evaluating
from robxfer_core.science.models import Network
from robxfer_core.science.support import noise
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.science.support.seeds import derive

BATCH = 256
FILES = ("visualization.npz", "visualization.png")


def gaussian_seeds(seed: int, places: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Images to begin at, float32 [n, C, H, W]: .5 + N(0, 1/20^2), clamped to [0,1] (Engstrom et al. 2019, notebooks).

    places: int64 [n], the number of each image's component or target, which alone decides its noise.
    """
    drawn = noise.normal(noise.image_seeds(derive(seed, "start"), places), shape[0] * shape[1] * shape[2])
    return (0.5 + drawn.view(-1, *shape) / 20).clamp(0, 1)


def fake_relu(x: Tensor) -> Tensor:
    """Forward a ReLU, backward the identity, so that a unit that is off gets a gradient (Engstrom et al. 2019)."""
    return x + (F.relu(x) - x).detach()


def represent(network: Network, x: Tensor, pause: Callable[[], None]) -> Tensor:
    """R(x) of images as stored, float32 [n, r] on the CPU; `pause` is called after each batch.

    Raises FloatingPointError naming the first image whose representation is not finite.
    """
    parts: list[Tensor] = []
    with evaluating(network), torch.no_grad():
        for images in x.split(BATCH):
            parts.append(network.represent(to_unit(images.to(network.mean.device))).float().cpu())
            pause()
    found = torch.cat(parts)
    finite = found.isfinite().all(1)
    if not finite.all():
        raise FloatingPointError(f"the representation of image {int((~finite).nonzero()[0])} is not finite")
    return found
