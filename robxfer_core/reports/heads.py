"""Heads on the representations of source networks, as the results of `transfer` jobs hold them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from robxfer_core.jobs.results import Norm, TaskSummary
from robxfer_core.jobs.run import Input
from robxfer_core.jobs.transfer import TransferResult, TunedHead

from .outcomes import Bits, unpack
from .stats import Floats


@dataclass(frozen=True)
class Head:
    """One learning curve: a head trained on n images' features of one source network."""

    eps: float
    """Of the source's threat model."""
    seed: int
    """Of the source."""
    random: bool
    """Whether the source is a network at its random start."""
    published: bool
    """Whether others trained the source."""
    norm: Norm
    """Of the source's threat model."""
    n: int
    """Training images."""
    standardised: bool
    """Whether the features are standardised."""
    test: Floats
    """Accuracy on the test split after each epoch, [E]."""
    first: Bits
    """Which test images are classified right after the first epoch, [n_test]."""
    last: Bits
    """The same after the last epoch."""
    clean_first: float | None
    """Of a constructed set: accuracy after the first epoch on the unconstructed test images with their own labels."""
    clean_last: float | None
    """The same after the last epoch."""
    asymptote: float | None
    """Test accuracy of the second-order solve on the whole split with these features."""
    converged: bool
    """Whether that solve did; True where there is none."""
    mean_per_class: float | None
    """Mean over classes of the accuracy after the last epoch."""
    robust: dict[float, float]
    """Accuracy under attack after the last epoch, by eps of the attack. Only the raw head on the whole split has it."""
    tuned: TunedHead | None
    """The tuned head of the same source."""
    data: TaskSummary
    """What the head was trained on."""
    key: str
    """Of the transfer's job."""


def read_heads(item: Input) -> Iterator[Head]:
    """The heads in the result of a `transfer` job.

    Args:
        item: The job's artifact.

    Raises:
        BadStudy: Outcomes do not fit the number of test images.
    """
    result = TransferResult.read(item.path)
    for curve in result.curves:
        is_whole = (curve.n, curve.standardised) == (result.n_train, False)
        attacked = result.robust.accuracy if result.robust is not None and is_whole else {}
        asymptote = result.asymptote.get("standardised" if curve.standardised else "raw")
        yield Head(
            eps=result.model.threat.eps,
            seed=result.model.seed,
            random=result.model.is_random,
            published=result.model.is_published,
            norm=result.model.threat.norm,
            n=curve.n,
            standardised=curve.standardised,
            test=np.asarray(curve.test, dtype=np.float64),
            first=unpack(curve.correct_first, result.data.n_test),
            last=unpack(curve.correct_last, result.data.n_test),
            clean_first=curve.clean_first,
            clean_last=curve.clean_last,
            asymptote=asymptote.test if asymptote is not None else None,
            converged=asymptote.converged if asymptote is not None else True,
            mean_per_class=curve.mean_per_class,
            robust={float(eps): accuracy for eps, accuracy in attacked.items()},
            tuned=result.tuned,
            data=result.data,
            key=item.key,
        )


def epochs_to(test: Floats, bar: Floats) -> Floats:
    """The first epoch at which accuracy reaches a bar.

    Args:
        test: Accuracy after each epoch, [seed, epoch].
        bar: The bar of each seed, [seed].

    Returns:
        The epoch, from 1, [seed]; NaN for never.
    """
    reached = test >= bar[:, None]
    return np.where(reached.any(1), reached.argmax(1) + 1.0, np.nan)
