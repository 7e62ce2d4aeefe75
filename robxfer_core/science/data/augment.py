"""Random crops and flips of a whole batch at once, on its device."""

import torch
import torch.nn.functional as F
from torch import Tensor

from robxfer_core.spec.fields import Augment


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
