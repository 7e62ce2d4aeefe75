"""Data sets on disk: dataset.json and shards of at most 4,096 images (uncompressed .npz)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, ValidationError
from torch import Tensor

from robxfer_core.spec.base import Strict

SHARD = 4096
Variant = Literal["standard", "antirobust", "relabel_only", "noise", "robust", "nonrobust", "stego"]


class Split(Strict):
    n: int = Field(ge=0)
    shards: list[Annotated[str, Field(pattern=r"^(train|test)-\d{5}\.npz$")]]


class Card(Strict):
    """dataset.json."""

    name: str
    variant: Variant
    classes: list[str]
    shape: tuple[int, int, int]
    """[C, H, W] of an image."""
    dtype: Literal["uint8", "float16"]
    """uint8: 0..255; float16: 0..1."""
    splits: dict[Literal["train", "test"], Split]
    lossless: bool | None = None
    """False: decoded from JPEG or another lossy format; None: not known."""


class Batch(NamedTuple):
    """Some images on their way into shards."""

    x: np.ndarray
    """[n, C, H, W], uint8 (0..255) or float16 (0..1)."""
    y: np.ndarray
    """[n], the label to learn."""
    original: np.ndarray | None = None
    """[n], the image's own class, where the label is another."""


@dataclass(frozen=True)
class Images:
    """One split of a data set, in memory."""

    x: Tensor
    """[n, C, H, W], uint8 or float16 as stored; `to_unit` makes it [0,1]."""
    y: Tensor
    """[n] int64, the label to learn."""
    original: Tensor | None
    """[n] int64, the image's own class, where the set's labels are others."""
    classes: list[str]
    name: str
    variant: str


class BadDataset(ValueError):
    """Files that are no data set of ours."""


def write_shards(
    folder: Path,
    *,
    name: str,
    variant: Variant,
    classes: list[str],
    splits: Mapping[str, Iterable[Batch]],
    lossless: bool | None = None,
) -> dict[str, Any]:
    """Write a data set whose splits, `train` and `test`, come as streams of batches. Returns its dataset.json.

    The streams are consumed one after the other, and at most a shard and a batch of one is held.
    """
    written = {split: _write_split(folder, split, batches) for split, batches in splits.items()}
    forms = {form for _, form in written.values()}
    if len(forms) != 1:
        raise BadDataset(f"splits of different images: {sorted(map(str, forms))}")
    dtype, shape = forms.pop()
    card = Card.model_validate(
        {
            "name": name,
            "variant": variant,
            "classes": classes,
            "shape": shape,
            "dtype": dtype,
            "splits": {split: part for split, (part, _) in written.items()},
            "lossless": lossless,
        }
    )
    (folder / "dataset.json").write_text(card.model_dump_json(indent=1))
    return card.model_dump(mode="json")


def _write_split(folder: Path, split: str, batches: Iterable[Batch]) -> tuple[Split, tuple[str, tuple[int, ...]]]:
    shards: list[str] = []
    held: list[Batch] = []
    total = 0
    form: tuple[str, tuple[int, ...]] | None = None

    def flush(count: int) -> None:
        joined = _join(held)
        path = f"{split}-{len(shards):05d}.npz"
        np.savez(folder / path, allow_pickle=False, **{key: part[:count] for key, part in joined.items()})
        shards.append(path)
        rest = Batch(*(part[count:] for part in joined.values()))
        held[:] = [rest] if len(rest.x) else []

    for batch in batches:
        if not len(batch.x) == len(batch.y) or batch.x.ndim != 4:
            raise BadDataset(f"a batch of images {batch.x.shape} with {len(batch.y)} labels")
        if held and (held[0].original is None) != (batch.original is None):
            raise BadDataset("own classes beside the labels in some batches and not in others")
        form = form or (str(batch.x.dtype), batch.x.shape[1:])
        if form != (str(batch.x.dtype), batch.x.shape[1:]):
            raise BadDataset(f"images of {batch.x.dtype} {batch.x.shape[1:]} after {form}")
        held.append(batch)
        total += len(batch.x)
        while sum(len(part.x) for part in held) >= SHARD:
            flush(SHARD)
    if held:
        flush(SHARD)
    if form is None or total == 0:
        raise BadDataset(f"the {split} split has no images")
    return Split(n=total, shards=shards), form


def _join(held: list[Batch]) -> dict[str, np.ndarray]:
    joined = {
        "x": np.concatenate([batch.x for batch in held]),
        "y": np.concatenate([batch.y for batch in held]).astype(np.int64),
    }
    own = [batch.original for batch in held if batch.original is not None]
    if own:
        joined["original"] = np.concatenate(own).astype(np.int64)
    return joined


def read_card(folder: Path) -> Card:
    """The checked dataset.json of a folder. Raises BadDataset."""
    try:
        return Card.model_validate_json((folder / "dataset.json").read_bytes())
    except ValidationError as error:
        raise BadDataset(f"dataset.json: {error}") from error


def load(folder: Path, split: Literal["train", "test"]) -> Images:
    """A split of the data set in a folder, on the CPU. Raises BadDataset where a shard is not as dataset.json says."""
    card = read_card(folder)
    part = card.splits[split]
    dtype = torch.uint8 if card.dtype == "uint8" else torch.float16
    x, y = torch.empty((part.n, *card.shape), dtype=dtype), torch.empty(part.n, dtype=torch.int64)
    original = torch.empty(part.n, dtype=torch.int64) if card.variant != "standard" else None
    at = 0
    for shard in part.shards:
        with np.load(folder / shard, allow_pickle=False) as arrays:
            images, labels = arrays["x"], arrays["y"]
            end = at + len(images)
            fits = images.shape[1:] == card.shape and str(images.dtype) == card.dtype and len(labels) == len(images)
            if not fits or end > part.n:
                raise BadDataset(
                    f"{shard}: {images.dtype} {images.shape} with {len(labels)} labels is not its dataset.json's"
                )
            x[at:end], y[at:end] = torch.from_numpy(images), torch.from_numpy(labels)
            if original is not None:
                original[at:end] = torch.from_numpy(arrays["original"])
        at = end
    if at != part.n:
        raise BadDataset(f"{split}: {at} images in its shards; dataset.json says {part.n}")
    if part.n and (int(y.min()) < 0 or int(y.max()) >= len(card.classes)):
        raise BadDataset(f"{split}: labels outside 0..{len(card.classes) - 1}")
    return Images(x, y, original, card.classes, card.name, card.variant)
