"""The study `component_visualization`: what components of representations look like, by robustness."""

from .expand import expand
from .spec import ComponentVisualization

__all__ = ["ComponentVisualization", "expand"]
