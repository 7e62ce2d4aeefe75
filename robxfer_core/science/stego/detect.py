"""Kind `detect_stego`: covers told from stegos by a score, judged at a threshold that validation pairs set."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from robxfer_core.jobs.detect_stego import DetectStego, DetectStegoResult, ThresholdChoice
from robxfer_core.jobs.features import FeaturesResult
from robxfer_core.jobs.results import ModelCard, TaskSummary
from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.science import models
from robxfer_core.science.attacks.evaluate import packed
from robxfer_core.science.attacks.pgd import evaluating
from robxfer_core.science.data.artifact import load
from robxfer_core.science.data.subset import paired_split
from robxfer_core.science.models import Network
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.science.support.seeds import derive
from robxfer_core.science.transfer.linear_heads import moments
from robxfer_core.science.transfer.logistic import Solution, axes, solve

BATCH = 256
PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""l2 of the linear detector, from the strongest on; in units of the standardised features' variance."""


@dataclass(frozen=True)
class Errors:
    """How a score divides pairs at a threshold: stego above it."""

    false_alarms: float
    """P_FA, the share of covers above it."""
    missed: float
    """P_MD, the share of stegos at it or below."""

    @property
    def p_e(self) -> float:
        """(P_FA + P_MD) / 2."""
        return (self.false_alarms + self.missed) / 2


def detect_stego(spec: DetectStego, inputs: Inputs, run: Run) -> DetectStegoResult:
    """P_E on the test pairs, its permutation p, and which images were taken for stegos, cover and stego in turn.

    Raises ValueError where the images are no pairs or the model does not tell two classes apart.
    """
    scored = _linear(spec, inputs, run) if inputs.maybe("features") is not None else _network(spec, inputs, run)
    threshold = best_threshold(scored.validation)
    flagged = scored.test > threshold
    seen, errors = errors_at(scored.validation, threshold), errors_at(scored.test, threshold)
    return DetectStegoResult(
        model=scored.model,
        data=scored.data,
        detector="network" if scored.penalty is None else "linear",
        l2=scored.penalty,
        converged=scored.converged,
        threshold=threshold,
        validation=ThresholdChoice(pairs=len(scored.validation) // 2, p_e=seen.p_e),
        pairs=len(scored.test) // 2,
        p_fa=errors.false_alarms,
        p_md=errors.missed,
        p_e=errors.p_e,
        p_null=permutation_p(flagged),
        flagged=packed(flagged),
    )


def best_threshold(scores: Tensor) -> float:
    """Where scores of pairs (cover, stego, cover, ...) [2n] have the least P_E; of equal ones the lowest."""
    covers, stegos = (part.double().sort().values for part in (scores[::2], scores[1::2]))
    at = torch.cat([covers, stegos, covers[:1].minimum(stegos[:1]) - 1]).sort().values
    alarms = len(covers) - torch.searchsorted(covers, at, right=True)
    missed = torch.searchsorted(stegos, at, right=True)
    return float(at[int((alarms + missed).argmin())])


def errors_at(scores: Tensor, threshold: float) -> Errors:
    """The errors of scores of pairs [2n] at a threshold."""
    flagged = scores.double() > threshold
    return Errors(float(flagged[::2].double().mean()), float((~flagged[1::2]).double().mean()))


def permutation_p(flagged: Tensor) -> float:
    """p of the hypothesis that the labels within a pair are exchangeable, against a P_E below .5; flagged bool [2n].

    The exact permutation test: at a threshold set elsewhere, exchanging the labels of a pair changes P_E only where
    one of the two was flagged, so the pairs in which that was the stego are binomial with 1/2 (a sign test).
    """
    cover, stego = flagged[::2], flagged[1::2]
    right, wrong = int((stego & ~cover).sum()), int((cover & ~stego).sum())
    return float(stats.binom.sf(right - 1, right + wrong, 0.5)) if right + wrong else 1.0


@dataclass(frozen=True)
class Scored:
    """What a detector says of validation and test pairs: scores [2n], cover and stego in turn."""

    model: ModelCard
    data: TaskSummary
    validation: Tensor
    test: Tensor
    penalty: float | None = None
    """Of the linear detector."""
    converged: bool | None = None
    """Of the linear detector: whether its solver reached its tolerance."""


def _linear(spec: DetectStego, inputs: Inputs, run: Run) -> Scored:
    folder = inputs.one("features").path
    about = FeaturesResult.read(folder)
    train, test = (
        torch.from_numpy(np.load(folder / f"{split}_x.npy", allow_pickle=False)) for split in ("train", "test")
    )
    labels = torch.from_numpy(np.load(folder / "train_y.npy", allow_pickle=False))
    _check_pairs(about.data, labels)
    parts = paired_split(len(labels), spec.validation, derive(spec.seed, "validation"))
    fit, held = (torch.from_numpy(part) for part in parts)
    _check_parts(len(fit), len(held))
    mean, inverse = moments(train[fit])
    x = (train.double() - mean) * inverse
    at = axes(x[fit])
    best: tuple[float, Tensor, Solution, float] | None = None
    solution: Solution | None = None
    for done, l2 in enumerate(PENALTIES):
        solution = solve(at, labels[fit], 2, l2, solution)
        scores = _logit(at.place(x[held]), solution)
        p_e = errors_at(scores, best_threshold(scores)).p_e
        if best is None or p_e < best[0]:
            best = p_e, scores, solution, l2
        run.progress(done + 1, len(PENALTIES), "penalties")
    assert best is not None  # there are penalties
    _, scores, solution, l2 = best
    tested = _logit(at.place((test.double() - mean) * inverse), solution)
    return Scored(about.model, about.data, scores, tested, l2, solution.converged)


def _logit(x: Tensor, solution: Solution) -> Tensor:
    return x @ (solution.weights[:, 1] - solution.weights[:, 0])


def _network(spec: DetectStego, inputs: Inputs, run: Run) -> Scored:
    folder = inputs.one("model").path
    card = models.read_card(folder)
    network = models.load(folder).to(run.device)
    train, test = (load(inputs.one("dataset").path, split) for split in ("train", "test"))
    data = TaskSummary(name=train.name, variant=train.variant, n_train=len(train.y), n_test=len(test.y), classes=2)
    _check_pairs(data, train.y)
    if network.classes != 2:
        raise ValueError(f"model: it tells {network.classes} classes apart; takes one trained on this data set")
    kept, held = paired_split(len(train.y), spec.validation, derive(card.seed, "holdout"))
    _check_parts(len(kept), len(held))
    seen = _scores(network, train.x[torch.from_numpy(held)], run, len(held) + len(test.y), 0)
    found = _scores(network, test.x, run, len(held) + len(test.y), len(held))
    return Scored(card, data, seen, found)


def _scores(network: Network, x: Tensor, run: Run, total: int, before: int) -> Tensor:
    """Logit of stego minus that of cover, [n] on the CPU."""
    parts: list[Tensor] = []
    with evaluating(network), torch.no_grad():
        for number, images in enumerate(x.split(BATCH)):
            logits = network(to_unit(images.to(run.device))).double().cpu()
            parts.append(logits[:, 1] - logits[:, 0])
            run.progress(before + number * BATCH + len(images), total, "images")
    return torch.cat(parts)


def _check_pairs(data: TaskSummary, labels: Tensor) -> None:
    if data.variant != "stego" or not torch.equal(labels, torch.arange(len(labels)) % 2):
        raise ValueError(f"{data.name} is a {data.variant} set; takes pairs of cover and stego by `embed_stego`")


def _check_parts(kept: int, held: int) -> None:
    if not (kept and held):
        raise ValueError(f"validation: {held // 2} pairs of {(kept + held) // 2}; takes some, and leaves some to learn")
