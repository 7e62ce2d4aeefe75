"""The study `which_eps`: which robustness level to use for a data set."""

from .expand import expand
from .spec import WhichEps

__all__ = ["WhichEps", "expand"]
