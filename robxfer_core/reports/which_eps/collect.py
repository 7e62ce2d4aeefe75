"""The results of a `which_eps` study, read into arrays: levels x seeds x test images, for each amount."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robxfer_core.jobs.results import ModelCard, Norm, TaskSummary
from robxfer_core.jobs.run import Inputs
from robxfer_core.jobs.transfer import Rates, TransferResult
from robxfer_core.jobs.which_eps_report import WhichEpsReport
from robxfer_core.reports.base import BadStudy
from robxfer_core.reports.outcomes import Bits, unpack
from robxfer_core.reports.stats import Floats


@dataclass(frozen=True)
class Head:
    """The tuned head on one model's representation."""

    model: ModelCard
    """The model's card."""
    seed: int
    data: TaskSummary
    """The target."""
    n: int
    """Training images that it learnt from, those it was tuned on included."""
    validation: float
    """Accuracy on the images that it was tuned on, when it had not learnt from them."""
    correct: Bits
    """Which test images it classifies right, [n_test]."""
    tuned: Rates
    """Its learning rate and weight decay."""
    at_edge: bool
    """Its learning rate is the smallest or the largest that was tried."""
    key: str
    """Of the transfer's job."""

    @property
    def eps(self) -> float:
        return self.model.threat.eps

    @property
    def random(self) -> bool:
        """The model is a network at its random start."""
        return self.model.is_random


@dataclass(frozen=True)
class Amount:
    """All heads that learnt from the same share of the training split."""

    images_per_class: int | None
    heads: tuple[tuple[Head, ...], ...]
    """[level][seed]"""
    random: tuple[Head, ...]
    """[seed]; () where there are none."""

    @property
    def validation(self) -> Floats:
        """[level, seed]"""
        return np.array([[head.validation for head in row] for row in self.heads])

    @property
    def correct(self) -> Bits:
        """[level, seed, test image]"""
        return np.array([[head.correct for head in row] for row in self.heads])

    @property
    def n(self) -> int:
        """Training images that a head learnt from."""
        return self.heads[0][0].n


@dataclass(frozen=True)
class Family:
    """A study: the same levels and seeds in every amount."""

    eps: tuple[float, ...]
    seeds: tuple[int, ...]
    norm: Norm
    trained_here: bool
    """Each seed has a family of its own; else seeds are few-shot draws and heads on the same checkpoints."""
    amounts: tuple[Amount, ...]

    @property
    def replicated(self) -> bool:
        """Whether training variance is known."""
        return self.trained_here and len(self.seeds) > 1


def collect(spec: WhichEpsReport, inputs: Inputs) -> Family:
    """Read every result.json that the report takes. Raises BadStudy where they do not make a study."""
    amounts, families = [], set[tuple[tuple[float, ...], tuple[int, ...]]]()
    for index, amount in enumerate(spec.amounts):
        heads = _heads(inputs, f"amounts.{index}.transfers")
        eps = tuple(sorted({head.eps for head in heads if not head.random}))
        seeds = tuple(sorted({head.seed for head in heads}))
        families.add((eps, seeds))
        random = tuple(sorted((head for head in heads if head.random), key=lambda head: head.seed))
        grid = tuple(tuple(_one(heads, level, seed) for seed in seeds) for level in eps)
        amounts.append(Amount(amount.images_per_class, grid, random))
    (eps, seeds), *others = families
    if others or len(eps) < 2:
        raise BadStudy(f"levels and seeds by amount {sorted(families)}; takes the same of each, and 2 levels or more")
    every = [head for amount in amounts for row in amount.heads for head in row]
    if len({len(head.correct) for head in every}) > 1:
        raise BadStudy("heads tested on different images; takes one target")
    norms = {head.model.threat.norm for head in every if head.eps > 0}
    if len(norms) > 1:
        raise BadStudy(f"models of the norms {sorted(norms)}; takes one")
    trained = not any(head.model.is_published for head in every)
    return Family(eps, seeds, norms.pop() if norms else "l2", trained, tuple(amounts))


def _heads(inputs: Inputs, field: str) -> list[Head]:
    heads = []
    for item in inputs.all(field):
        result = TransferResult.read(item.path)
        tuned = result.tuned
        if tuned is None:
            raise BadStudy(f"{item.key} has no tuned head; takes transfers with `tune_lr`")
        rates = [candidate.lr for candidate in tuned.table]
        head = Head(
            model=result.model,
            seed=result.seed,
            data=result.data,
            n=result.n_train,
            validation=tuned.validation,
            correct=unpack(tuned.correct, result.data.n_test),
            tuned=tuned.best,
            at_edge=len(set(rates)) > 1 and tuned.best.lr in (min(rates), max(rates)),
            key=item.key,
        )
        heads.append(head)
    return heads


def _one(heads: Sequence[Head], eps: float, seed: int) -> Head:
    matching = [head for head in heads if not head.random and (head.eps, head.seed) == (eps, seed)]
    if len(matching) != 1:
        raise BadStudy(f"{len(matching)} heads on a model of eps {eps:g} with seed {seed}; takes 1")
    return matching[0]
