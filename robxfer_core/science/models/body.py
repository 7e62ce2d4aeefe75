"""The bodies of the networks: images in, representation out. One class serves every layout of `spec.archs`.

Names of parameters are torchvision's (and, for the CIFAR ResNets, those of the commonly published checkpoints), so
that their weights load by key. Blocks: He et al. 2016, a bottleneck's stride on its 3x3 convolution (as torchvision).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robxfer_core.spec.archs import RESIDUALS, ArchLayout

from .residuals import high_pass_filters

GREY_LEVELS = 64.0
"""Normalised pixels times this are grey levels, where pixels deviate by about a quarter of their range."""
TRUNCATION = 3.0
"""Residuals beyond so many grey levels are the image's and no message's (Ye et al. 2017, section III-C: T = 3)."""

Relu = Callable[[Tensor], Tensor]


def _conv(inside: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


class Pad(nn.Module):
    """Shortcut without parameters (option A): every second pixel, the new channels zero, half before, half behind."""

    def __init__(self, inside: int, out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (out - inside) // 2
        self.behind = out - inside - self.before

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.before, self.behind))


def _shortcut(inside: int, out: int, stride: int, kind: str) -> nn.Module | None:
    if stride == 1 and inside == out:
        return None
    if kind == "pad":
        return Pad(inside, out, stride)
    return nn.Sequential(_conv(inside, out, 1, stride), nn.BatchNorm2d(out))


class Plain(nn.Module):
    """One convolution with batch norm and ReLU."""

    def __init__(self, inside: int, channels: int, stride: int, layout: ArchLayout) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inside, channels, 3, stride), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, relu: Relu = F.relu) -> Tensor:
        return relu(self.bn1(self.conv1(x)))


class Basic(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, inside: int, channels: int, stride: int, layout: ArchLayout) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inside, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = _conv(channels, channels, 3), nn.BatchNorm2d(channels)
        self.downsample = _shortcut(inside, channels, stride, layout.shortcut)

    def forward(self, x: Tensor, relu: Relu = F.relu) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around a shortcut; the last has four times the channels of the stage."""

    def __init__(self, inside: int, channels: int, stride: int, layout: ArchLayout) -> None:
        super().__init__()
        within = channels * layout.inner
        self.conv1, self.bn1 = _conv(inside, within, 1), nn.BatchNorm2d(within)
        self.conv2, self.bn2 = _conv(within, within, 3, stride, layout.groups), nn.BatchNorm2d(within)
        self.conv3, self.bn3 = _conv(within, 4 * channels, 1), nn.BatchNorm2d(4 * channels)
        self.downsample = _shortcut(inside, 4 * channels, stride, layout.shortcut)

    def forward(self, x: Tensor, relu: Relu = F.relu) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return relu(y + (x if self.downsample is None else self.downsample(x)))


BLOCKS: dict[str, type[nn.Module]] = {"plain": Plain, "basic": Basic, "bottleneck": Bottleneck}


class Body(nn.Module):
    """Stem, stages, global average: `[N, channels, H, W]` normalised images to `[N, r]`."""

    def __init__(self, layout: ArchLayout, channels: int, width: int) -> None:
        """`width`: channels of the first stage."""
        super().__init__()
        self.imagenet = layout.stem == "imagenet"
        self.highpass = layout.stem == "highpass"
        inside = channels
        if layout.stem == "none":
            self.conv1 = None
        elif self.highpass:
            inside = RESIDUALS * channels
            self.conv1 = nn.Conv2d(channels, inside, 5, padding=2, groups=channels, bias=False)
        else:
            self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False) if self.imagenet else _conv(channels, width, 3)
            self.bn1 = nn.BatchNorm2d(width)
            inside = width
        self.stages: list[str] = []
        for stage, blocks in enumerate(layout.blocks):
            name, middle, made = f"layer{stage + 1}", width * 2**stage, []
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                made.append(BLOCKS[layout.block](inside, middle, stride, layout))
                inside = middle * layout.expansion
            self.add_module(name, nn.Sequential(*made))
            self.stages.append(name)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # torchvision's start
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if self.highpass and self.conv1 is not None:
            # Not trained (so Xu et al. 2016): a step of SGD that suits the layers behind would undo them at once.
            self.conv1.weight.requires_grad_(False)
            if not self.conv1.weight.is_meta:
                self.conv1.weight.copy_(high_pass_filters().repeat(channels, 1, 1)[:, None])

    def forward(self, x: Tensor, relu: Relu = F.relu) -> Tensor:
        """`relu` takes the place of the last block's last ReLU."""
        if self.highpass and self.conv1 is not None:
            # How large residuals are, not their signs (Xu et al. 2016); nothing is pooled or smoothed before.
            x = self.conv1(GREY_LEVELS * x).abs().clamp_max(TRUNCATION)
        elif self.conv1 is not None:
            x = F.relu(self.bn1(self.conv1(x)))
        if self.imagenet:
            x = F.max_pool2d(x, 3, 2, 1)
        for name in self.stages[:-1]:
            x = self.get_submodule(name)(x)
        *blocks, last = self.get_submodule(self.stages[-1]).children()
        for block in blocks:
            x = block(x)
        x = last(x, relu)
        return torch.mean(x, (2, 3))
