"""The study `transfer_gap`: does robustness help or hinder where the signal is robust and where it is not."""

from .expand import expand
from .spec import TransferGap

__all__ = ["TransferGap", "expand"]
