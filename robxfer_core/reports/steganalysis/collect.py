"""The results of a steganalysis study's jobs, read into arrays: levels x seeds x test pairs."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from robxfer_core.jobs.run import Input, Inputs
from robxfer_core.jobs.steganalysis_report import SteganalysisReport
from robxfer_core.reports.base import BadStudy
from robxfer_core.reports.outcomes import unpack
from robxfer_core.reports.stats import Floats


@dataclass(frozen=True)
class Detection:
    """One detector on the test pairs of a task."""

    eps: float
    """Of the source model; 0 for networks at their random start and for the high-pass network."""
    seed: int
    random: bool
    """The source is a network at its random start."""
    network: bool
    """A network with its own head, trained on the task."""
    errors: Floats
    """(false alarm + missed) / 2 of each test pair, [n]: 0, .5 or 1. Their mean is P_E."""
    result: dict[str, Any]
    key: str


@dataclass(frozen=True)
class Task:
    """Covers and stegos by one method at one payload, and every detector on them."""

    label: str
    embedding: dict[str, Any]
    """The result of `embed_stego`."""
    eps: tuple[float, ...]
    seeds: tuple[int, ...]
    """Those that have every level."""
    detections: tuple[Detection, ...]

    @property
    def pairs(self) -> int:
        return len(self.detections[0].errors)

    def family(self) -> Floats:
        """P_E of each pair by [level, seed, pair]."""
        at = {(d.eps, d.seed): d.errors for d in self.detections if not (d.random or d.network)}
        return np.array([[at[eps, seed] for seed in self.seeds] for eps in self.eps])

    def random(self) -> Floats:
        """The same of networks at their random start, [seed, pair]."""
        return self._rows([d.errors for d in self.detections if d.random])

    def reference(self) -> Floats:
        """The same of the high-pass networks, [seed, pair]."""
        return self._rows([d.errors for d in self.detections if d.network])

    def _rows(self, errors: list[Floats]) -> Floats:
        return np.array(errors).reshape(len(errors), self.pairs)


def collect(spec: SteganalysisReport, inputs: Inputs) -> tuple[Task, ...]:
    """Every task with its detections. Raises BadStudy where they do not fit together."""
    return tuple(_task(inputs, index, arm.label) for index, arm in enumerate(spec.arms))


def _task(inputs: Inputs, index: int, label: str) -> Task:
    embeddings = [_result(item) for item in inputs.all(f"arms.{index}.embedding")]
    if len(embeddings) != 1:
        raise BadStudy(f"{label}: {len(embeddings)} sets; takes 1")
    found = [_detection(item) for item in inputs.all(f"arms.{index}.detections")]
    reference = [_detection(item) for item in inputs.all(f"arms.{index}.reference")]
    if any(d.network for d in found) or not all(d.network for d in reference):
        raise BadStudy(f"{label}: takes linear detectors on features, and networks with their own head as reference")
    if not reference:
        raise BadStudy(f"{label}: no high-pass network says whether the task can be done")
    if len({len(d.errors) for d in (*found, *reference)}) > 1:
        raise BadStudy(f"{label}: the detectors were tested on different numbers of pairs")
    keys = [(d.random, d.eps, d.seed) for d in found]
    if len(set(keys)) != len(keys):
        raise BadStudy(f"{label}: a source model is there twice")
    family = {(d.eps, d.seed) for d in found if not d.random}
    eps = sorted({level for level, _ in family})
    if len(eps) < 2 or eps[0] != 0:
        raise BadStudy(f"{label}: levels {eps}; takes eps 0 and at least one above it")
    seeds = sorted({seed for _, seed in family if all((level, seed) in family for level in eps)})
    if not seeds:
        raise BadStudy(f"{label}: no seed has all of the levels {eps}")
    detections = sorted((*found, *reference), key=lambda d: (d.network, d.random, d.eps, d.seed))
    return Task(label, embeddings[0], tuple(eps), tuple(seeds), tuple(detections))


def _detection(item: Input) -> Detection:
    result = _result(item)
    model, network = result["model"], result["detector"] == "network"
    flagged = unpack(result["flagged"], 2 * result["pairs"]).astype(np.float64)
    return Detection(
        eps=float(model["threat"]["eps"]),
        seed=model["seed"],
        random=model["epochs"] == 0 and not network,
        network=network,
        errors=(flagged[::2] + 1 - flagged[1::2]) / 2,
        result=result,
        key=item.key,
    )


def _result(item: Input) -> dict[str, Any]:
    return json.loads((item.path / "result.json").read_bytes())
