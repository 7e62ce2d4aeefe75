"""What an interrupted `transfer` goes on from, and its way to disk and back."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from robxfer_core.jobs.transfer import Asymptote

from .linear_heads import Group, HeadsState, Trained

FILE = "transfer_state.pt"


@dataclass
class TransferState:
    """The three trainings of heads, each as far as it is, and the asymptotes found. No random state: seeds follow."""

    curves: HeadsState = field(default_factory=HeadsState)
    candidates: HeadsState = field(default_factory=HeadsState)
    best: HeadsState = field(default_factory=HeadsState)
    asymptote: dict[Literal["raw", "standardised"], Asymptote] = field(default_factory=dict)
    """As in result.json, for raw and for standardised features."""
    attacked: list[Tensor] = field(default_factory=list)
    """Outcomes of the attacks on the network with its new head, for each eps measured."""

    def save(self, folder: Path) -> None:
        """Leave the state in a folder."""
        held = {name: _held(getattr(self, name)) for name in ("curves", "candidates", "best")}
        asymptote = {name: solved.model_dump() for name, solved in self.asymptote.items()}
        torch.save({**held, "asymptote": asymptote, "attacked": self.attacked}, folder / FILE)

    @classmethod
    def restore(cls, folder: Path, device: str) -> "TransferState":
        """The state that `save` left, the heads in training on the device."""
        held = torch.load(folder / FILE, map_location="cpu", weights_only=True)
        curves, candidates, best = (_state(held[name], device) for name in ("curves", "candidates", "best"))
        asymptote = {name: Asymptote.model_validate(solved) for name, solved in held["asymptote"].items()}
        return cls(curves, candidates, best, asymptote, held["attacked"])


def _held(state: HeadsState) -> dict[str, Any]:
    done = [[vars(trained) for trained in group] for group in state.done]
    return {"done": done, "group": vars(state.group) if state.group else None}


def _state(held: dict[str, Any], device: str) -> HeadsState:
    done = [[Trained(**trained) for trained in group] for group in held["done"]]
    group = Group(**held["group"]) if held["group"] else None
    return HeadsState(done, group.to(device) if group else None)
