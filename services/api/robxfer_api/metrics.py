"""The ledger's figures as Prometheus reads them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from sqlalchemy import Engine

from robxfer_core.ledger import counts, workers
from robxfer_core.ledger.counts import Ended, Spread, Tally

Sample = tuple[str, dict[str, str], float]
"""What follows the family's name, the labels, and the value."""
STATES = ("waiting", "ready", "running")
UNSERVED = 100
"""Queues without a worker that have a name of their own in the figures."""
OTHER = "other"


def exposition(engine: Engine, tally: Tally) -> str:
    """All figures, in Prometheus' text format 0.0.4.

    What they cost does not grow with history: jobs are counted while they have not ended, attempts by the tally.
    """
    live, ended = workers.live(engine), tally.read(engine)
    slots: Counter[str] = Counter()
    for worker in live:
        slots.update(dict.fromkeys(worker.queues, worker.slots))
    depth, oldest = _few(counts.queue_depth(engine), counts.oldest_ready(engine), slots.keys())
    slots.update(dict.fromkeys((queue for queue, _ in depth), 0))  # one that nobody serves has none: worth a line
    outcomes = _by(ended, lambda kind, queue, outcome: {"kind": kind, "outcome": outcome})
    waits = _by(ended, lambda kind, queue, outcome: {"queue": queue})
    kinds = _by(ended, lambda kind, queue, outcome: {"kind": kind})
    lost = sum(each.n for (_, _, outcome), each in ended.items() if outcome == "lost")
    return "".join(
        [
            _family(
                "robxfer_queue_depth",
                "gauge",
                "Jobs that run or are wanted, by queue and state.",
                [("", {"queue": q, "state": s}, depth.get((q, s), 0)) for q in slots for s in STATES],
            ),
            _family(
                "robxfer_queue_oldest_seconds",
                "gauge",
                "For how long the first in a queue has been ready.",
                [("", {"queue": queue}, oldest.get(queue, 0.0)) for queue in slots],
            ),
            _family(
                "robxfer_slots", "gauge", "Slots of live workers.", [("", {"queue": q}, n) for q, n in slots.items()]
            ),
            _family("robxfer_workers", "gauge", "Live workers.", [("", {}, len(live))]),
            _family(
                "robxfer_attempts_total",
                "counter",
                "Attempts that have ended.",
                [("", labels, each.n) for labels, each in outcomes],
            ),
            _family(
                "robxfer_attempt_seconds_total",
                "counter",
                "Time that attempts which have ended took.",
                [("", labels, each.seconds) for labels, each in outcomes],
            ),
            _family("robxfer_lease_losses_total", "counter", "Attempts whose worker fell silent.", [("", {}, lost)]),
            _family(
                "robxfer_wait_seconds",
                "histogram",
                "From ready to the start, of attempts that have ended.",
                _histograms([(labels, each.waited) for labels, each in waits], counts.WAIT_BOUNDS_S),
            ),
            _family(
                "robxfer_publish_seconds",
                "histogram",
                "From the end of the computation to the artifact.",
                _histograms([(labels, each.published) for labels, each in kinds], counts.PUBLISH_BOUNDS_S),
            ),
        ]
    )


def _few(
    depth: Mapping[tuple[str, str], int], oldest: Mapping[str, float], served: Collection[str]
) -> tuple[Mapping[tuple[str, str], int], Mapping[str, float]]:
    """Depth by (queue, state) and the oldest by queue, with those queues summed as OTHER that are one too many.

    Whoever submits a job names its queue, so of those that nobody serves only the UNSERVED fullest have a name here.
    """
    jobs: Counter[str] = Counter()
    for (queue, _), n in depth.items():
        jobs[queue] += n
    fullest = [queue for queue, _ in jobs.most_common() if queue not in served][:UNSERVED]
    names = {queue: queue for queue in (*served, *fullest)}
    few: Counter[tuple[str, str]] = Counter()
    for (queue, state), n in depth.items():
        few[names.get(queue, OTHER), state] += n
    first: dict[str, float] = {}
    for queue, seconds in oldest.items():
        name = names.get(queue, OTHER)
        first[name] = max(seconds, first.get(name, 0.0))
    return few, first


def _by(
    ended: dict[tuple[str, str, str], Ended], labels: Callable[[str, str, str], dict[str, str]]
) -> list[tuple[dict[str, str], Ended]]:
    """Attempts summed over what the labels leave out."""
    groups: defaultdict[tuple[tuple[str, str], ...], list[Ended]] = defaultdict(list)
    for key, each in ended.items():
        groups[tuple(labels(*key).items())].append(each)
    return [(dict(group), _sum(members)) for group, members in groups.items()]


def _sum(members: Sequence[Ended]) -> Ended:
    first, *rest = members
    for each in rest:
        first = first + each
    return first


def _histograms(groups: Iterable[tuple[dict[str, str], Spread]], bounds: Sequence[float]) -> Iterator[Sample]:
    for labels, spread in groups:
        for bound, n in zip([*(f"{each:g}" for each in bounds), "+Inf"], [*spread.within, spread.n], strict=True):
            yield "_bucket", {**labels, "le": bound}, n
        yield "_sum", labels, spread.seconds
        yield "_count", labels, spread.n


def _family(name: str, type: str, meaning: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP {name} {meaning}", f"# TYPE {name} {type}"]
    lines += [f"{name}{suffix}{_labels(labels)} {value!r}" for suffix, labels, value in samples]
    return "\n".join(lines) + "\n"


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items()) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
