"""A network of ours: images in [0,1] to logits, as a representation and a linear head."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robxfer_core.spec.archs import LAYOUTS, base_channels, representation
from robxfer_core.spec.fields import Arch

from .body import Body, Relu


class Network(nn.Module):
    """Maps images `[N, C, H, W]` in [0,1] to logits `[N, K]`: `network(x)` is `network.head(network.represent(x))`."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, arch: Arch, classes: int, channels: int, input_size: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        """`channels`, `input_size`: what the body computes on; `mean`, `std`: per channel, in [0,1] pixels."""
        super().__init__()
        self.arch, self.classes, self.channels, self.input_size = arch, classes, channels, input_size
        # Not persistent: model.json carries them.
        self.register_buffer("mean", torch.tensor(mean).view(1, channels, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, channels, 1, 1), persistent=False)
        self.body = Body(LAYOUTS[arch.name], channels, base_channels(arch))
        self.head = nn.Linear(representation(arch), classes)
        # Channels last is the layout that convolutions compute in, on CPUs and GPUs alike.
        self.to(memory_format=torch.channels_last)

    def adapt(self, x: Tensor) -> Tensor:
        """Images as the body takes them: grey repeated, resized (differentiably), normalised. ValueError if not."""
        if x.ndim != 4 or x.shape[1] not in (1, self.channels):
            raise ValueError(f"images of shape {list(x.shape)}; takes [N, {self.channels} or 1, H, W]")
        if x.shape[2:] != (self.input_size, self.input_size):
            size = (self.input_size, self.input_size)
            x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=False)
        x = (x.expand(-1, self.channels, -1, -1) - self.mean) / self.std
        return x.contiguous(memory_format=torch.channels_last)

    def represent(self, x: Tensor, relu: Relu = F.relu) -> Tensor:
        """The representation R(x), `[N, r]`; `relu` takes the place of the last block's last ReLU."""
        return self.body(self.adapt(x), relu)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.represent(x))


def build(
    arch: Arch, classes: int, channels: int, image_size: int, mean: Sequence[float], std: Sequence[float], seed: int
) -> Network:
    """A network at its random start, on the CPU; equal seeds give equal weights, and no global generator moves.

    `image_size`: side of the images it is trained on, on which it computes unless `arch.input_size` says otherwise.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Network(arch, classes, channels, arch.input_size or image_size, mean, std)
