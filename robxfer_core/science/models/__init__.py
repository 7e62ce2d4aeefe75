"""Networks: built by name, kept as safetensors."""

from .files import BadModel, load, model_name, read_card, save
from .network import Network, build

__all__ = ["BadModel", "Network", "build", "load", "model_name", "read_card", "save"]
