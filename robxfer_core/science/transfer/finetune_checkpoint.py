"""What an interrupted transfer that runs the network goes on from, and its way to disk and back."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from robxfer_core.jobs.transfer import RobustAccuracy
from robxfer_core.science.training.state import TrainingState

FILE = "transfer_state.pt"


@dataclass
class TrainingRecord:
    """A training by its epochs, as far as it is."""

    train_loss: list[float] = field(default_factory=list)
    """For each epoch, the mean cross-entropy of its images, each before its step."""
    test: list[float] = field(default_factory=list)
    """Accuracy after each epoch on the images it is scored on."""
    beside: list[float] = field(default_factory=list)
    """Accuracy on the images beside them after the first and the last epoch."""
    correct_first: Tensor = field(default_factory=lambda: torch.empty(0))
    """bool [m]: which of the images it is scored on are right after the first epoch."""
    correct_last: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def finite(self) -> bool:
        """Whether it has not diverged."""
        return not self.train_loss or math.isfinite(self.train_loss[-1])


@dataclass
class FinetuneState:
    """The trainings that are done, and the one under way. There is no random state: seeds follow."""

    done: list[TrainingRecord] = field(default_factory=list)
    record: TrainingRecord = field(default_factory=TrainingRecord)
    """Of the training under way."""
    outcomes: list[Tensor] = field(default_factory=list)
    """Of the attacks on the main network, for each eps measured."""
    robust: RobustAccuracy | None = None
    """The robust accuracy, once all are measured."""
    under_way: bool = False
    training: TrainingState | None = None
    """The network and its optimiser, while one is under way."""

    def save(self, folder: Path) -> None:
        """Leave the state in a folder."""
        held = {
            "done": [vars(record) for record in self.done],
            "record": vars(self.record),
            "outcomes": self.outcomes,
            "robust": self.robust and self.robust.model_dump(),
            "under_way": self.under_way,
        }
        torch.save(held, folder / FILE)
        if self.under_way and self.training is not None:
            self.training.save(folder)

    @classmethod
    def restore(cls, folder: Path) -> "FinetuneState":
        """The state that `save` left; its training is restored from the same folder, once it is built."""
        held = torch.load(folder / FILE, map_location="cpu", weights_only=True)
        done = [TrainingRecord(**record) for record in held["done"]]
        robust = RobustAccuracy.model_validate(held["robust"]) if held["robust"] else None
        return cls(done, TrainingRecord(**held["record"]), held["outcomes"], robust, held["under_way"])
