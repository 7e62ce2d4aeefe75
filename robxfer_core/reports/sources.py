"""Source networks on their own task: what evaluations say, and whether each level is as robust as it claims."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import SerializerFunctionWrapHandler, model_serializer

from robxfer_core.jobs.evaluate import EvaluateResult
from robxfer_core.jobs.results import Interval, Norm, Record
from robxfer_core.jobs.run import Inputs
from robxfer_core.spec.fields import Arch

from .base import BadStudy
from .formatting import eps_text, percent
from .outcomes import Bits, check_unique, unpack
from .stats import crossed, mean_interval


@dataclass(frozen=True)
class Source:
    """A source network and its accuracy on its own task."""

    eps: float
    """Of its threat model."""
    seed: int
    """Of its training."""
    name: str
    """`arch.tag`."""
    arch: str
    """Architecture and width: 'cnn x 0.75'."""
    robust: dict[float, float]
    """Accuracy under attack by eps of the attack."""
    correct: dict[float, Bits]
    """The same for each image, [n]; 0 is clean."""
    key: str
    """Of the evaluation's job."""


@dataclass(frozen=True)
class SourceFamily:
    """The source networks of a study that were evaluated."""

    sources: tuple[Source, ...]
    """By eps and seed. Networks at their random start are left out."""
    norm: Norm
    """Of the attacks."""


class SourceLevel(Record):
    """The source networks of one level. Accuracies are fractions."""

    eps: float
    """Of their threat model."""
    name: str
    """Of the first of them."""
    arch: str
    """Of the first of them."""
    seeds: list[int]
    """Their seeds."""
    clean: Interval
    """Accuracy on the images as they are."""
    robust: dict[str, float | None]
    """Accuracy under attack by eps of the attack, mean over seeds."""
    gain: Interval | None = None
    """Accuracy at the level's own eps less that of eps 0, over paired seeds; none where none are paired, or at eps 0,
    where report.json does not have it."""
    own: float | None = None
    """Accuracy at the level's own eps, over paired seeds; report.json has it where there are some."""
    standard: float | None = None
    """Accuracy of the networks of eps 0 there."""
    ok: bool
    """Whether the level beats eps 0 at its own eps."""

    @model_serializer(mode="wrap")
    def _without_what_does_not_apply(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content = handler(self)
        absent = [name for name in ("own", "standard") if content[name] is None]
        if self.eps == 0:
            absent.append("gain")
        return {name: value for name, value in content.items() if name not in absent}


class SourceChecks(Record):
    """Whether the source networks of a study are as robust as they claim."""

    norm: Norm
    """Of the attacks."""
    levels: list[SourceLevel]
    """By eps."""
    failed: dict[str, str]
    """By eps, why the level voids the verdicts of families that hold it."""

    def void(self, levels: Sequence[float], published: Sequence[float] = ()) -> str | None:
        """Why the verdict on these levels is void, or None.

        Args:
            levels: The levels that the verdict is about.
            published: Levels that others trained; what they say is not checked.
        """
        known = {level.eps for level in self.levels} | set(published)
        reasons = [self.failed[eps_text(eps)] for eps in levels if eps_text(eps) in self.failed]
        reasons += [f"the source at eps {eps_text(eps)} was not evaluated" for eps in levels if eps not in known]
        return "; ".join(reasons) or None


def read_sources(inputs: Inputs) -> SourceFamily:
    """The evaluations of the source networks, the inputs of the field `sources`.

    Raises:
        BadStudy: They are attacked in different norms, or one is there twice.
    """
    sources, norms = [], set[Norm]()
    for item in inputs.all("sources"):
        result = EvaluateResult.read(item.path)
        norms.add(result.norm)
        if not result.model.is_random:
            sources.append(_source(result, item.key))
    if len(norms) > 1:
        raise BadStudy(f"the sources are attacked in the norms {sorted(norms)}; a study takes one")
    check_unique("sources", ((source.eps, source.seed) for source in sources))
    sources.sort(key=lambda source: (source.eps, source.seed))
    return SourceFamily(tuple(sources), norms.pop() if norms else "l2")


def check_sources(family: SourceFamily, alpha: float) -> SourceChecks:
    """Compare the networks of each level with those of eps 0 at that level's own eps, paired by seed.

    Args:
        family: The source networks.
        alpha: 1 - the confidence of the intervals.
    """
    by_level: dict[float, dict[int, Source]] = {}
    for source in family.sources:
        by_level.setdefault(source.eps, {})[source.seed] = source
    standard = by_level.get(0.0, {})
    failed = {
        eps_text(eps): reason
        for eps, sources in by_level.items()
        if eps > 0 and (reason := _failure(eps, sources, standard)) is not None
    }
    levels = [_level(eps, sources, standard, alpha, failed) for eps, sources in by_level.items()]
    return SourceChecks(norm=family.norm, levels=levels, failed=failed)


def arch_text(arch: Arch) -> str:
    """'cnn x 0.75': an architecture and its width."""
    return f"{arch.name} x {arch.width:g}"


def _source(result: EvaluateResult, key: str) -> Source:
    return Source(
        eps=result.model.threat.eps,
        seed=result.model.seed,
        name=result.model.name,
        arch=arch_text(result.model.arch),
        robust={float(eps): accuracy for eps, accuracy in result.robust.items()},
        correct={float(eps): unpack(bits, result.n) for eps, bits in result.correct.items()},
        key=key,
    )


def _paired(eps: float, sources: Mapping[int, Source], standard: Mapping[int, Source]) -> list[tuple[Bits, Bits]]:
    """Outcomes at the level's own eps and those of the standard network of the same seed, for each seed with both."""
    return [
        (source.correct[eps], standard[seed].correct[eps])
        for seed, source in sources.items()
        if seed in standard and eps in source.correct and eps in standard[seed].correct
    ]


def _failure(eps: float, sources: Mapping[int, Source], standard: Mapping[int, Source]) -> str | None:
    paired = _paired(eps, sources, standard)
    if not paired:
        return f"no evaluation compares the source at eps {eps_text(eps)} with eps 0 at its own eps"
    own, other = np.asarray(paired, dtype=np.float64).mean((0, 2))
    if own > other:
        return None
    return (
        f"the source at eps {eps_text(eps)} does not beat eps 0 at its own eps "
        f"({percent(own)} against {percent(other)} robust accuracy)"
    )


def _level(
    eps: float,
    sources: Mapping[int, Source],
    standard: Mapping[int, Source],
    alpha: float,
    failed: Mapping[str, str],
) -> SourceLevel:
    first = next(iter(sources.values()))
    paired = _paired(eps, sources, standard) if eps > 0 else []
    own, other = np.asarray(paired, dtype=np.float64).swapaxes(0, 1) if paired else (None, None)
    return SourceLevel(
        eps=eps,
        name=first.name,
        arch=first.arch,
        seeds=sorted(sources),
        clean=mean_interval(crossed([source.correct[0.0] for source in sources.values()]), alpha),
        robust={eps_text(at): _mean_robust(sources, at) for at in sorted(first.robust)},
        gain=mean_interval(crossed(own - other), alpha) if own is not None and other is not None else None,
        own=float(own.mean()) if own is not None else None,
        standard=float(other.mean()) if other is not None else None,
        ok=eps_text(eps) not in failed,
    )


def _mean_robust(sources: Mapping[int, Source], at: float) -> float | None:
    values = [source.robust[at] for source in sources.values() if at in source.robust]
    return float(np.mean(values)) if values else None
