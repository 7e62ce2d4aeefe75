"""All that a training needs to go on from where it was, and its way to disk and back."""

import copy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from robxfer_core.science.models import Network
from robxfer_core.spec.fields import Sgd

from .distributed import Team

FILE = "train_state.pt"


@dataclass
class TrainingState:
    """A training between two steps. There is no random state: seeds follow from the epoch and the image."""

    network: Network
    optimizer: torch.optim.SGD
    average: Network | None
    """Exponential moving average of the network, where one is wanted."""
    trained: nn.Module
    """The network as a step calls it (`Team.trained`)."""
    loss: Tensor
    """Sum of the losses of this epoch's images so far, on the device, so that no step waits for it."""
    team: Team
    epoch: int = 0
    step: int = 0
    """Steps taken in this epoch."""
    clean: list[float] = field(default_factory=list)
    """Accuracy on the held-out images after each epoch."""
    robust: list[float] = field(default_factory=list)
    fgsm: list[float] = field(default_factory=list)
    """Accuracy on the probe batch under single steps after each epoch, where it is watched..."""
    pgd: list[float] = field(default_factory=list)
    """...and under PGD."""
    perturbation: Tensor | None = None
    """Of `free`: [batch size, C, H, W], by place in the batch, equal on all processes."""

    @classmethod
    def start(cls, network: Network, how: Sgd, averaged: bool, team: Team) -> "TrainingState":
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=how.lr,
            momentum=how.momentum,
            nesterov=how.nesterov and how.momentum > 0,
            weight_decay=how.weight_decay,
        )
        loss = torch.zeros((), dtype=torch.float64, device=network.mean.device)
        average = copy.deepcopy(network).eval() if averaged else None
        return cls(network, optimizer, average, team.trained(network), loss, team)

    @property
    def published(self) -> Network:
        return self.network if self.average is None else self.average

    def save(self, folder: Path) -> None:
        """Leave the state in a folder."""
        held = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "loss": self.loss,
            "epoch": self.epoch,
            "step": self.step,
            "clean": self.clean,
            "robust": self.robust,
            "fgsm": self.fgsm,
            "pgd": self.pgd,
            "perturbation": self.perturbation,
        }
        torch.save(held, folder / FILE)

    def restore(self, folder: Path) -> None:
        """Take up the state that `save` left, on this state's device."""
        held = torch.load(folder / FILE, map_location=self.loss.device, weights_only=True)
        self.network.load_state_dict(held["network"])
        self.optimizer.load_state_dict(held["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(held["average"])
        self.loss, self.epoch, self.step = held["loss"], held["epoch"], held["step"]
        self.clean, self.robust = held["clean"], held["robust"]
        # Checkpoints from before single steps were watched lack these; no training that needs them left such a one.
        self.fgsm, self.pgd = held.get("fgsm", []), held.get("pgd", [])
        self.perturbation = held.get("perturbation")

    @torch.no_grad()
    def update_average(self, decay: float, taken: int) -> None:
        """Move the average towards the network after its step number `taken` (from 1).

        The first 1 / (1 - decay) steps are averaged plainly, so that the random start has no weight in a short
        training. Batch norm's running statistics are averaged as the weights are; its counters are copied.
        """
        if self.average is None:
            return
        weight = max(1 - decay, 1 / taken)
        for mean, value in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, weight)
            else:
                mean.copy_(value)
