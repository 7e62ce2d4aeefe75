"""What is known of each architecture without building it: its layout, the images it takes, its cost."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Literal

from .fields import Arch, ArchName


@dataclass(frozen=True)
class ArchLayout:
    """The shape of a network. Stages after the first halve the side and double the channels."""

    block: Literal["plain", "basic", "bottleneck"]
    """plain: one convolution; basic and bottleneck: the residual blocks of He et al. 2016."""
    blocks: tuple[int, ...]
    """Blocks in each stage."""
    channels: int
    """Channels of the first stage at width 1.0, before a bottleneck's expansion."""
    stem: Literal["imagenet", "small", "highpass", "none"]
    """imagenet: 7x7 convolution of stride 2 and 3x3 pooling of stride 2; small: 3x3 convolution; highpass: RESIDUALS
    5x5 high-pass filters on each channel of the image; none: no stem."""
    shortcut: Literal["convolution", "pad"] = "convolution"
    """How a residual stage changes its shape: by a 1x1 convolution, or by zeros without parameters (option A)."""
    inner: int = 1
    """Channels between the convolutions of a bottleneck, times those of its stage (Zagoruyko & Komodakis 2016)."""
    groups: int = 1
    """Of a bottleneck's 3x3 convolution (Xie et al. 2017)."""
    smallest: int = 8
    """Smallest side of the image that leaves the last stage something to look at."""

    @property
    def expansion(self) -> int:
        return 4 if self.block == "bottleneck" else 1


LAYOUTS: dict[ArchName, ArchLayout] = {
    "cnn": ArchLayout("plain", (1, 1, 2), 16, "none", smallest=4),
    "highpass_cnn": ArchLayout("plain", (2, 1, 1), 16, "highpass"),
    "resnet18": ArchLayout("basic", (2, 2, 2, 2), 64, "imagenet", smallest=32),
    "resnet50": ArchLayout("bottleneck", (3, 4, 6, 3), 64, "imagenet", smallest=32),
    "wide_resnet50_2": ArchLayout("bottleneck", (3, 4, 6, 3), 64, "imagenet", inner=2, smallest=32),
    "wide_resnet50_4": ArchLayout("bottleneck", (3, 4, 6, 3), 64, "imagenet", inner=4, smallest=32),
    "resnext50_32x4d": ArchLayout("bottleneck", (3, 4, 6, 3), 64, "imagenet", inner=2, groups=32, smallest=32),
    "resnet18_cifar": ArchLayout("basic", (2, 2, 2, 2), 64, "small"),
    "resnet50_cifar": ArchLayout("bottleneck", (3, 4, 6, 3), 64, "small"),
    "cifar_resnet20": ArchLayout("basic", (3, 3, 3), 16, "small", "pad"),
    "cifar_resnet32": ArchLayout("basic", (5, 5, 5), 16, "small", "pad"),
    "cifar_resnet44": ArchLayout("basic", (7, 7, 7), 16, "small", "pad"),
    "cifar_resnet56": ArchLayout("basic", (9, 9, 9), 16, "small", "pad"),
}
RESIDUALS = 8
"""High-pass filters on each channel of the image, of the stem `highpass`."""
CHANNELS = (1, 3)
"""Channels of images that a network takes; one trained on 3 also takes 1, repeated."""


def base_channels(arch: Arch) -> int:
    """Channels of the first stage at this width: 1 or more, and so many that a convolution's groups divide them."""
    layout = LAYOUTS[arch.name]
    step = max(1, layout.groups // layout.inner)
    return step * max(1, round(layout.channels * arch.width / step))


def representation(arch: Arch) -> int:
    """Length r of the representation R(x)."""
    layout = LAYOUTS[arch.name]
    return base_channels(arch) * 2 ** (len(layout.blocks) - 1) * layout.expansion


def forward_flops(arch: Arch, channels: int, size: int, classes: int = 10) -> float:
    """Floating-point operations of one image's forward pass: 2 for each multiply-add of a convolution or the head.

    `channels` and `size` are those of the images; the network computes on `arch.input_size` where that is set.
    """
    macs = sum(_convolutions(arch, channels, arch.input_size or size)) + representation(arch) * classes
    return 2.0 * macs


def weights(arch: Arch, channels: int, classes: int) -> int:
    """Numbers that the convolutions and the head have: what is left of the multiply-adds where every side is 1."""
    at_one_pixel = arch.model_copy(update={"input_size": None})
    return round(forward_flops(at_one_pixel, channels, 1, classes) / 2)


def _convolutions(arch: Arch, channels: int, side: int) -> Iterator[int]:
    """Multiply-adds of each convolution, in the order of the pass."""
    layout, width, inside = LAYOUTS[arch.name], base_channels(arch), channels
    if layout.stem == "imagenet":
        side = ceil(side / 2)
        yield side**2 * 49 * channels * width
        side, inside = ceil(side / 2), width
    elif layout.stem == "small":
        yield side**2 * 9 * channels * width
        inside = width
    elif layout.stem == "highpass":
        inside = RESIDUALS * channels
        yield side**2 * 25 * inside
    for stage, blocks in enumerate(layout.blocks):
        middle = width * 2**stage
        for block in range(blocks):
            before, stride = side, 2 if stage and not block else 1
            side = ceil(side / stride)
            out = middle * layout.expansion
            if layout.block == "plain":
                yield side**2 * 9 * inside * middle
            elif layout.block == "basic":
                yield side**2 * 9 * (inside + middle) * middle
            else:  # the 3x3 convolution carries the stride, as in torchvision
                within = middle * layout.inner
                yield before**2 * inside * within + side**2 * (9 * within // layout.groups + out) * within
            if layout.block != "plain" and layout.shortcut == "convolution" and (stride > 1 or inside != out):
                yield side**2 * inside * out
            inside = out
