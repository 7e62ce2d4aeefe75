"""Model cards of made-up networks, for fixtures that need no network."""

from typing import Any

from robxfer_core.jobs.results import ModelCard
from robxfer_core.spec.archs import representation
from robxfer_core.spec.fields import Arch, ThreatModel


def model_card(**given: Any) -> ModelCard:
    """The card of a small network for 8x8 grey images; `given` takes the place of its fields."""
    arch = given.pop("arch", Arch(name="cnn", width=0.25))
    fields: dict[str, Any] = {
        "arch": arch,
        "classes": 3,
        "channels": 1,
        "input_size": 8,
        "mean": [0.5],
        "std": [0.25],
        "representation": representation(arch),
        "threat": ThreatModel(eps=0.0),
        "seed": 0,
        "epochs": 1,
        "name": "made up",
    }
    return ModelCard.model_validate(fields | given)
