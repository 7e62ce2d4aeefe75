"""Outcomes of single images, and how studies read them."""

import base64
from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import NDArray

from .base import BadStudy

Bits = NDArray[np.bool_]


def unpack(bits: str, n: int) -> Bits:
    """Read the outcomes of n images.

    Args:
        bits: Base64 of numpy.packbits, the first image in the highest bit.
        n: Number of images.

    Returns:
        Whether each image was classified right, bool [n].

    Raises:
        BadStudy: There are outcomes for another number of images.
    """
    packed = np.frombuffer(base64.b64decode(bits, validate=True), dtype=np.uint8)
    if len(packed) != (n + 7) // 8:
        raise BadStudy(f"{8 * len(packed)} outcomes for {n} images")
    return np.unpackbits(packed, count=n).astype(bool)


def check_unique(name: str, keys: Iterable[Hashable]) -> None:
    """Refuse results of which two have the same key.

    Args:
        name: What the results are, for the message.
        keys: Their keys.

    Raises:
        BadStudy: A key occurs twice.
    """
    seen = set[Hashable]()
    for key in keys:
        if key in seen:
            raise BadStudy(f"{name}: {key} is there twice")
        seen.add(key)
