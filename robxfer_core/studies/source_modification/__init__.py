"""The study `source_modification`: sources trained on robust data instead of adversarially."""

from .expand import expand
from .spec import SourceModification

__all__ = ["SourceModification", "expand"]
