"""What the makers of data sets share: images are moved part by part, and a checkpoint keeps the parts that are done."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

Split = Literal["train", "test"]
SPLITS: tuple[Split, Split] = ("train", "test")
PART = 256
"""Images moved together; what is finished is kept part by part."""

P = TypeVar("P")


def as_stored(x: Tensor, dtype: str) -> Tensor:
    """Images in [0,1] as float16, or as uint8: rounded, for to truncate would darken them."""
    return x.half() if dtype == "float16" else (x * 255).round().to(torch.uint8)


def save_parts(folder: Path, name: str, parts: Sequence[Any]) -> None:
    """Write parts, named tuples of arrays, into a checkpoint."""
    for number, part in enumerate(parts):
        np.savez(folder / f"{name}-{number}.npz", allow_pickle=False, **part._asdict())


def restore_parts(folder: Path, name: str, count: int, kind: Callable[..., P]) -> list[P]:
    """The first `count` parts of this name, as they were written."""
    parts: list[P] = []
    for number in range(count):
        with np.load(folder / f"{name}-{number}.npz", allow_pickle=False) as arrays:
            parts.append(kind(**arrays))
    return parts
