"""The library's door for other code: `pgd` and `apgd`, pure functions from a model and images to adversarial images."""

from .apgd import apgd
from .pgd import pgd

__all__ = ["apgd", "pgd"]
