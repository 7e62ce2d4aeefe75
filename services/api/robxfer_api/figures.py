"""The ledger's figures as Prometheus reads them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from sqlalchemy import Engine

from robxfer_core.ledger import figures, workers
from robxfer_core.ledger.figures import Ended, Spread, Tally

Sample = tuple[str, dict[str, str], float]
"""What follows the family's name, the labels, and the value."""
STATES = ("waiting", "ready", "running")


def exposition(engine: Engine, tally: Tally) -> str:
    """All figures, in Prometheus' text format 0.0.4.

    What they cost does not grow with history: jobs are counted while they have not ended, attempts by the tally.
    """
    depth, oldest, live = figures.queue_depth(engine), figures.oldest_ready(engine), workers.live(engine)
    ended = tally.read(engine)
    slots = Counter({queue: 0 for queue, _ in depth})  # a queue that nobody serves has none, which is worth a line
    for worker in live:
        slots.update(dict.fromkeys(worker.queues, worker.slots))
    outcomes = _by(ended, lambda kind, queue, outcome: {"kind": kind, "outcome": outcome})
    waits = _by(ended, lambda kind, queue, outcome: {"queue": queue})
    kinds = _by(ended, lambda kind, queue, outcome: {"kind": kind})
    lost = sum(each.n for (_, _, outcome), each in ended.items() if outcome == "lost")
    return "".join(
        [
            _family(
                "robxfer_queue_depth",
                "gauge",
                "Jobs that have not ended, by queue and state.",
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
                _histograms([(labels, each.waited) for labels, each in waits], figures.WAIT_BOUNDS_S),
            ),
            _family(
                "robxfer_publish_seconds",
                "histogram",
                "From the end of the computation to the artifact.",
                _histograms([(labels, each.published) for labels, each in kinds], figures.PUBLISH_BOUNDS_S),
            ),
        ]
    )


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
