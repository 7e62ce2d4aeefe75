"""What a plan costs: floating-point operations by counting, seconds by the throughput that was measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .fit import Facts
from .spec.archs import forward_flops
from .spec.jobs import ControlDataset, Dataset, Evaluate, Features, Job, PerturbDataset, Report, Train, Transfer

if TYPE_CHECKING:
    from .plan import Plan

UNKNOWN_IMAGES = 10_000  # where a set's size is not known
UNKNOWN_SIDE = 32
ASSUMED_FLOPS = {"cpu": 5e9}  # a second and slot, until something was measured
ASSUMED_FLOPS_OTHER = 5e12
ASSUMED_OVERHEAD = 0.1  # seconds a job


@dataclass(frozen=True)
class Measured:
    """What past attempts of a kind on a queue did."""

    flops: float
    seconds: float
    jobs: int


@dataclass(frozen=True)
class Cost:
    """What is left to compute."""

    jobs: int
    done: int
    flops: float
    seconds: float
    """Of one slot, summed over jobs."""
    wall_seconds: float
    """With the slots there are: the larger of seconds / slots and the longest path of the graph."""
    slots: int
    basis: str


def flops(job: Job, facts: Mapping[str, Facts], own: Facts) -> float:
    """Floating-point operations of a job, to leading order (a backward pass counts as two forward passes)."""
    match job:
        case Train():
            return _train(job, facts[job.dataset])
        case Evaluate():
            model = facts[job.model]
            attacked = sum(eps > 0 for eps in job.eps)
            return (
                _forward(model)
                * (own.test or job.max_images)
                * (1 + 3 * attacked * job.attack.steps * job.attack.restarts)
            )
        case PerturbDataset():
            data, model = facts[job.dataset], facts[job.generator]
            search = 4 * 512 if job.raise_eps else 0
            return _forward(model) * (_images(data) + search) * (2 + 3 * job.attack.steps * job.attack.restarts)
        case Features():
            return _forward(facts[job.model]) * _images(facts[job.dataset])
        case Transfer():
            features = facts[job.features]
            heads = 2 * (1 + len(job.sizes)) + len(job.tune_lr) * len(job.tune_weight_decay)
            weights = (features.length or 512) * (features.classes or 10)
            return 6.0 * weights * _images(features) * (heads * job.epochs + 100)
        case Dataset() | ControlDataset():
            return 100.0 * _images(own) * (own.channels or 3) * (own.side or UNKNOWN_SIDE) ** 2
        case Report():
            return 1e7 * sum(len(arm.transfers) for arm in job.arms)
        case _:
            raise TypeError(f"no cost for a {type(job).__name__}")


def _train(job: Train, data: Facts) -> float:
    images = data.train or UNKNOWN_IMAGES
    forward = forward_flops(job.arch, data.channels or 3, data.side or UNKNOWN_SIDE, data.classes or 10)
    attacked = job.threat.eps > 0
    step = 3 + (3 * job.attack.steps * job.attack.restarts if attacked else 0)
    check = 1 + (3 * job.holdout_attack_steps if attacked else 0)
    return job.epochs * images * forward * ((1 - job.holdout) * step + job.holdout * check)


def _forward(model: Facts) -> float:
    if model.arch is None:
        return 1e9
    return forward_flops(model.arch, model.channels or 3, model.side or UNKNOWN_SIDE, model.classes or 10)


def _images(data: Facts) -> int:
    return (data.train or UNKNOWN_IMAGES) + (data.test or 0)


def estimate(plan: "Plan", done: set[str], measured: Mapping[tuple[str, str], Measured], slots: int) -> Cost:
    """Seconds that a plan still takes. `measured` is by (kind, queue); kinds never run are assumed, and said so."""
    seconds: dict[str, float] = {}
    finish: dict[str, float] = {}
    by_basis: dict[str, set[str]] = {"measured": set(), "assumed": set()}
    total = 0.0
    for node in plan.nodes:
        start = max((finish[ref.key] for ref in node.inputs), default=0.0)
        if node.key not in seconds:
            spent, basis = (
                (0.0, None) if node.key in done else _seconds(node.kind, node.running.queue, node.flops, measured)
            )
            if basis:
                by_basis[basis].add(node.kind)
                total += node.flops
            seconds[node.key] = spent
        finish[node.key] = start + seconds[node.key]
    busy = sum(seconds.values())
    told = []
    if by_basis["measured"]:
        jobs = sum(m.jobs for (kind, _), m in measured.items() if kind in by_basis["measured"])
        told.append(f"measured on {jobs} past jobs: {', '.join(sorted(by_basis['measured']))}")
    if by_basis["assumed"]:
        rates = (
            f"{ASSUMED_FLOPS['cpu'] / 1e9:g} GFLOP/s a cpu slot, {ASSUMED_FLOPS_OTHER / 1e12:g} TFLOP/s on other queues"
        )
        told.append(f"assumed, none has run here ({rates}): {', '.join(sorted(by_basis['assumed']))}")
    return Cost(
        jobs=len(seconds),
        done=sum(key in done for key in seconds),
        flops=total,
        seconds=busy,
        wall_seconds=max(busy / max(slots, 1), max(finish.values(), default=0.0)),
        slots=slots,
        basis="; ".join(told) or "everything is done",
    )


def _seconds(kind: str, queue: str, work: float, measured: Mapping[tuple[str, str], Measured]) -> tuple[float, str]:
    past = measured.get((kind, queue))
    if past is not None and past.jobs and past.flops > 0:
        return work * past.seconds / past.flops, "measured"
    return ASSUMED_OVERHEAD + work / ASSUMED_FLOPS.get(queue, ASSUMED_FLOPS_OTHER), "assumed"
