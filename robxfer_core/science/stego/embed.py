"""Kind `embed_stego`: messages hidden in images by changes of one grey level, cover and stego side by side."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robxfer_core.jobs.embed_stego import ChangeSummary, Embedding, EmbedStego, EmbedStegoResult
from robxfer_core.jobs.results import DatasetName
from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.science.data.artifact import Batch, Card, Images, load, read_card, write_shards
from robxfer_core.science.support import noise
from robxfer_core.science.support.gallery import write_examples
from robxfer_core.science.support.seeds import derive

PART = 256
"""Images embedded together; what becomes of one depends on its place alone."""
CLASSES = ["cover", "stego"]
SPLITS: tuple[Literal["train"], Literal["test"]] = ("train", "test")
WET = 1e13
"""Cost of a change that would leave the range of a pixel (HILL's own)."""
KB = torch.tensor([[-1.0, 2, -1], [2, -4, 2], [-1, 2, -1]], dtype=torch.float64)


def embed_stego(spec: EmbedStego, inputs: Inputs, run: Run) -> EmbedStegoResult:
    """Write the set of covers and stegos; `original` is the image's class in the data set that it comes from.

    result.json says what was changed: of each split the share of pixels, the mean change (grey levels), the largest one
    and the l2 norm over images in [0,1]. Raises ValueError where the images are not exact or once were JPEGs.
    """
    folder = inputs.one("dataset").path
    card = read_card(folder)
    check_covers(card, assume_lossless=spec.assume_lossless)
    data = {split: load(folder, split) for split in SPLITS}
    changes: dict[str, list[Tensor]] = {split: [] for split in SPLITS}
    total = sum(len(images.y) for images in data.values())
    told = 0

    def pairs(split: str, images: Images) -> Iterator[Batch]:
        nonlocal told
        for places in torch.arange(len(images.y)).split(PART):
            covers = images.x[places]
            change = embed(covers, spec, noise.image_seeds(derive(spec.seed, "embed", split), places))
            changes[split].append(measured(change))
            both = torch.stack([covers, covers + change.to(torch.uint8)], 1).flatten(0, 1)  # -1 is 255, and wraps
            labels = np.tile([0, 1], len(places))
            yield Batch(both.numpy(), labels, images.y[places].repeat_interleave(2).numpy())
            told += len(places)
            run.progress(told, total, "images")

    write_shards(
        run.out,
        name=card.name,
        variant="stego",
        classes=CLASSES,
        splits={split: pairs(split, images) for split, images in data.items()},
        lossless=card.lossless,
    )
    shown = load(run.out, "test")
    write_examples(run.out, shown.x[::2], shown.x[1::2], shown.y[::2], shown.y[1::2], CLASSES)
    return EmbedStegoResult(
        data=DatasetName(name=card.name, variant="stego"),
        embedding=Embedding(method=spec.method, payload=spec.payload),
        pairs={split: len(data[split].y) for split in SPLITS},
        change={split: _summary(torch.cat(changes[split])) for split in SPLITS},
    )


def check_covers(card: Card, *, assume_lossless: bool) -> None:
    """Raise ValueError, with what would do, unless the images may be covers."""
    takes = "takes exact uint8 pixels that were never a JPEG: arrays such as digits, mnist or cifar10, or PNG files"
    if card.dtype != "uint8":
        raise ValueError(f"dataset: {card.name} is stored as {card.dtype}; {takes}")
    if card.lossless is False:
        raise ValueError(f"dataset: the images of {card.name} were decoded from JPEG; {takes}")
    if card.lossless is None and not assume_lossless:
        raise ValueError(
            f"dataset: nobody knows whether the images of {card.name} were once JPEGs; {takes}; where you know that "
            f"they were not, `assume_lossless: true` says so"
        )


def embed(covers: Tensor, how: Embedding, seeds: Tensor) -> Tensor:
    """The change of each pixel, int16 [n, C, H, W] of -1, 0 and 1, that a random message makes of covers (uint8).

    seeds: int64 [n], the images' own. Nothing leaves 0..255.
    """
    method = {"lsb_matching": lsb_matching, "textured": textured}[how.method]
    return method(covers, how.payload, seeds)


def lsb_matching(covers: Tensor, payload: float, seeds: Tensor) -> Tensor:
    """LSB matching (Sharp 2001): places with probability `payload`, a random bit for each, +-1 where it differs."""
    chosen, bit, up = (noise.uniform(seeds, covers[0].numel(), stream).view(covers.shape) for stream in range(3))
    x = covers.to(torch.int16)
    sign = torch.where(up < 0.5, -1, 1).to(torch.int16)
    sign = torch.where(x == 0, 1, torch.where(x == 255, -1, sign)).to(torch.int16)
    differs = (x & 1) != (bit < 0.5).to(torch.int16)
    return sign * ((chosen < payload) & differs)


def textured(covers: Tensor, payload: float, seeds: Tensor) -> Tensor:
    """Changes by the probabilities of an optimal code for HILL's costs at this payload."""
    up, down = change_probabilities(covers, payload)
    drawn = noise.uniform(seeds, covers[0].numel()).view(covers.shape)
    return (drawn < up).to(torch.int16) - ((drawn >= up) & (drawn < up + down)).to(torch.int16)


def costs(covers: Tensor) -> Tensor:
    """HILL's cost of a change, float64 [n, C, H, W], each channel for itself (Li et al. 2014, section 3).

    1 / (|X * KB| * L1) * L2: high-pass residuals, smoothed 3x3, inverted, smoothed 15x15. At the borders the last pixel
    is repeated. Small where the neighbourhood cannot be predicted.
    """
    n, channels, height, width = covers.shape
    x = covers.double().view(n * channels, 1, height, width)
    residual = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), KB.view(1, 1, 3, 3)).abs()
    smooth = F.avg_pool2d(F.pad(residual, (1, 1, 1, 1), mode="replicate"), 3, 1)
    cost = F.avg_pool2d(F.pad(1 / (smooth + 1e-10), (7, 7, 7, 7), mode="replicate"), 15, 1)
    return cost.view(covers.shape)


def change_probabilities(covers: Tensor, payload: float) -> tuple[Tensor, Tensor]:
    """Of +1 and of -1 at every pixel, float64 [n, C, H, W]: those of least expected cost that carry the payload.

    p+ = exp(-t rho+) / (1 + exp(-t rho+) + exp(-t rho-)), p- likewise, with t such that the entropy over an image's
    pixels is `payload` bits each (Filler and Fridrich 2010, section II), found by bisection. Where every pixel may move
    both ways, at most log2(3) bits fit; an image that is black or white all over still holds 1.
    """
    cost = costs(covers)
    cost = cost / cost.flatten(1).mean(1).view(-1, 1, 1, 1)
    rho_up, rho_down = (torch.where(covers == end, WET, cost) for end in (255, 0))

    def at(log_t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        t = log_t.exp().view(-1, 1, 1, 1)
        # A change that cannot be made has no share even at t = 0.
        up, down = (torch.where(rho == WET, 0.0, (-t * rho).exp()) for rho in (rho_up, rho_down))
        return up / (1 + up + down), down / (1 + up + down), 1 / (1 + up + down)

    low, high = (torch.full((len(covers),), value, dtype=torch.float64) for value in (-35.0, 35.0))
    for _ in range(60):
        middle = (low + high) / 2
        bits = sum(-torch.special.xlogy(p, p) for p in at(middle)) / np.log(2)
        carries = torch.as_tensor(bits).flatten(1).mean(1) >= payload
        low, high = torch.where(carries, middle, low), torch.where(carries, high, middle)
    up, down, _ = at(low)
    return up, down


def measured(change: Tensor) -> Tensor:
    """Of each image: share of pixels changed, mean change, largest change (grey levels), l2 norm in [0,1]; [n, 4]."""
    flat = change.flatten(1).double()
    columns = flat.abs().mean(1), flat.mean(1), flat.abs().amax(1), flat.square().sum(1).sqrt() / 255
    return torch.stack(columns, 1)


def _summary(rows: Tensor) -> ChangeSummary:
    rate, mean, _, norm = rows.mean(0).tolist()
    return ChangeSummary(rate=rate, mean=mean, max=float(rows[:, 2].max()) / 255, l2=norm)
