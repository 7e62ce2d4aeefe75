"""Networks: built by name, kept as safetensors."""

from .files import Accuracy, BadModel, load, model_name, read_card, save
from .network import Network, build

__all__ = ["Accuracy", "BadModel", "Network", "build", "load", "model_name", "read_card", "save"]
