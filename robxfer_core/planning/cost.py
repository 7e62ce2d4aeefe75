"""What a plan costs: seconds, by the throughput that was measured."""

from collections.abc import Mapping
from dataclasses import dataclass

from .plan import Node, Plan

ASSUMED_FLOPS = {"cpu": 5e9}  # a second and slot, until something was measured
ASSUMED_FLOPS_OTHER = 5e12
ASSUMED_OVERHEAD = 0.1  # seconds a job


@dataclass(frozen=True)
class Throughput:
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
    gpu_seconds: float
    """Of all GPUs together: of the jobs whose queue is not `cpu`."""
    bytes: float
    """That the jobs will leave in the store."""
    slots: int
    basis: str


def estimate(plan: Plan, done: set[str], measured: Mapping[tuple[str, str], Throughput], slots: int) -> Cost:
    """Seconds that a plan still takes. `measured` is by (kind, queue); kinds never run are assumed, and said so."""
    seconds: dict[str, float] = {}
    finish: dict[str, float] = {}
    by_basis: dict[str, set[str]] = {"measured": set(), "assumed": set()}
    total = gpu_seconds = size = 0.0
    for node in plan.nodes:
        start = max((finish[ref.key] for ref in node.inputs), default=0.0)
        if node.key not in seconds:
            spent, basis = (0.0, None) if node.key in done else _seconds(node, measured)
            if basis:
                by_basis[basis].add(node.kind)
                total += node.flops
                size += node.bytes
                gpu_seconds += spent * node.running.gpus if node.running.queue not in ASSUMED_FLOPS else 0.0
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
        gpu_seconds=gpu_seconds,
        bytes=size,
        slots=slots,
        basis="; ".join(told) or "everything is done",
    )


def _seconds(node: Node, measured: Mapping[tuple[str, str], Throughput]) -> tuple[float, str]:
    past, running = measured.get((node.kind, node.running.full_queue)), node.running
    if past is not None and past.jobs and past.flops > 0:
        return node.flops * past.seconds / past.flops, "measured"
    speed = ASSUMED_FLOPS.get(running.queue, ASSUMED_FLOPS_OTHER) * running.gpus
    return ASSUMED_OVERHEAD + node.flops / speed, "assumed"
