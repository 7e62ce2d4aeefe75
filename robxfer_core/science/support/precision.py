"""Which arithmetic a job computes in, and by which kernels."""

from contextlib import AbstractContextManager

import torch

from robxfer_core.spec.fields import Precision


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """A context for the model's forward pass: bfloat16 where it is asked for, else plain float32.

    One context for each forward pass that is trained through: a context keeps casted weights, and those casted without
    gradients (by an attack's last look, say) would leave the weights without any.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def same_kernels() -> AbstractContextManager[None]:
    """A context in which cuDNN takes the same kernels every time: what was interrupted must end as what was not."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
