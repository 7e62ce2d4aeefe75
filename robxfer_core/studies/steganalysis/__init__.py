"""The study `steganalysis`: do robust representations see hidden messages."""

from .expand import expand
from .spec import Steganalysis

__all__ = ["Steganalysis", "expand"]
