"""Random crops and flips of a whole batch at once, on its device."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from robxfer_core.science.support import noise
from robxfer_core.spec.fields import Augment

TRIES = 10
"""Windows drawn for an image until one lies in it, as in torchvision."""


def augment(x: Tensor, how: Augment, generator: torch.Generator) -> Tensor:
    """A batch `[N, C, H, W]` of any type: each image gets its own window (zeros outside) and its own flip."""
    n, channels, height, width = x.shape
    if not (how.crop or how.flip):
        return x

    def draw(end: int) -> Tensor:
        return torch.randint(end, (n, 1), generator=generator, device=generator.device).to(x.device)

    rows = torch.arange(height, device=x.device).expand(n, -1)
    columns = torch.arange(width, device=x.device).expand(n, -1)
    if how.flip:
        columns = torch.where(draw(2) == 1, width - 1 - columns, columns)
    if how.crop:
        x = F.pad(x, (how.crop,) * 4)
        rows, columns = rows + draw(2 * how.crop + 1), columns + draw(2 * how.crop + 1)
    image = torch.arange(n, device=x.device).view(n, 1, 1, 1)
    channel = torch.arange(channels, device=x.device).view(1, channels, 1, 1)
    return x[image, channel, rows.view(n, 1, height, 1), columns.view(n, 1, 1, width)]


def random_resized_crop(
    x: Tensor,
    size: int,
    seeds: Tensor,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """A random window of each image, resized: float [N, C, H, W] to [N, C, size, size].

    Windows are drawn as by torchvision's RandomResizedCrop: an area uniform in `scale` (a share of the image's), the
    logarithm of width / height uniform in that of `ratio`, a place uniform among those that fit; after 10 windows that
    do not fit, the whole image. Resized bilinearly, without antialiasing, as the networks' own first layer does. An
    image's window follows from its seed (int64 [N]) alone. On the device, without synchronisation.
    """
    n, _, height, width = x.shape
    drawn = noise.uniform(seeds, 2 * TRIES + 2)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * drawn[:, :TRIES])
    low, high = (math.log(bound) for bound in ratio)
    aspect = torch.exp(low + (high - low) * drawn[:, TRIES : 2 * TRIES])
    wide, tall = torch.round((area * aspect).sqrt()), torch.round((area / aspect).sqrt())
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    first = fits.float().argmax(1, keepdim=True)
    found = fits.gather(1, first)
    wide = torch.where(found, wide.gather(1, first), width)
    tall = torch.where(found, tall.gather(1, first), height)
    left = torch.floor(drawn[:, -2:-1] * (width - wide + 1))
    top = torch.floor(drawn[:, -1:] * (height - tall + 1))
    across, down = _centres(left, wide, width, size), _centres(top, tall, height, size)
    grid = torch.stack((across[:, None, :].expand(n, size, size), down[:, :, None].expand(n, size, size)), 3)
    return F.grid_sample(x, grid.to(x.dtype), mode="bilinear", padding_mode="border", align_corners=False)


def _centres(start: Tensor, length: Tensor, whole: int, size: int) -> Tensor:
    """[N, size]: centres of the pixels of a window resized to `size`, in grid_sample's coordinates of the image.

    Held within the window, whose edge so repeats, and nothing outside it is seen.
    """
    steps = (torch.arange(size, device=start.device) + 0.5) / size
    at = torch.maximum(torch.minimum(start + steps * length - 0.5, start + length - 1), start)
    return (2 * at + 1) / whole - 1


def random_flip(x: Tensor, seeds: Tensor) -> Tensor:
    """Each image [N, C, H, W] mirrored left-right with probability one half, as its seed (int64 [N]) says."""
    mirrored = noise.uniform(seeds, 1, stream=1) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)


def center_crop(x: Tensor) -> Tensor:
    """The middle 7/8 of the side of images [N, C, H, W], to the next pixel (of 256 pixels: 224, of 24: 21)."""
    (height, top), (width, left) = ((kept := round(side * 7 / 8), (side - kept) // 2) for side in x.shape[2:])
    return x[:, :, top : top + height, left : left + width]
