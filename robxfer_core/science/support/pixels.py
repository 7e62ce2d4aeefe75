"""Pixels as they are stored, and as networks take them."""

import torch
from torch import Tensor


def to_unit(x: Tensor) -> Tensor:
    """Convert stored images to float32 in [0,1].

    Args:
        x: Images of any shape: uint8 (0..255), or float16 (0..1).
    """
    return x.float() / 255 if x.dtype == torch.uint8 else x.float()
