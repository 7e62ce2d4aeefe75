"""The library's door for other code: `pgd` and `apgd`, pure functions from a model and images to adversarial images."""

from .auto import apgd
from .projected import pgd

__all__ = ["apgd", "pgd"]
