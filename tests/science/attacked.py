"""A small network and images to attack, and how far an attack has come."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
