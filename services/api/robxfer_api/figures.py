"""The ledger's figures as Prometheus reads them."""

from collections import Counter
from collections.abc import Iterable

from sqlalchemy import Engine

from robxfer_core.ledger import figures, workers

Sample = tuple[dict[str, str], float]


def exposition(engine: Engine) -> str:
    """All figures, in Prometheus' text format 0.0.4."""
    depth = figures.queue_depth(engine)
    by_state: Counter[str] = Counter()
    for (_, state), n in depth.items():
        by_state[state] += n
    ended = figures.attempts_ended(engine)
    live = workers.live(engine)
    slots: Counter[str] = Counter()
    for worker in live:
        slots.update(dict.fromkeys(worker.queues, worker.slots))
    ready = [({"queue": queue}, n) for (queue, state), n in depth.items() if state == "ready"]
    return "".join(
        [
            _family("robxfer_queue_depth", "gauge", "Jobs ready in a queue.", ready),
            _family(
                "robxfer_jobs", "gauge", "Jobs by state.", [({"state": state}, n) for state, n in by_state.items()]
            ),
            _family(
                "robxfer_attempts_total",
                "counter",
                "Attempts that have ended.",
                [({"kind": kind, "outcome": outcome}, n) for (kind, outcome), (n, _) in ended.items()],
            ),
            _family(
                "robxfer_attempt_seconds_total",
                "counter",
                "Time that attempts which have ended took.",
                [({"kind": kind, "outcome": outcome}, spent) for (kind, outcome), (_, spent) in ended.items()],
            ),
            _family("robxfer_workers", "gauge", "Live workers.", [({}, len(live))]),
            _family("robxfer_slots", "gauge", "Slots of live workers.", [({"queue": q}, n) for q, n in slots.items()]),
        ]
    )


def _family(name: str, type: str, meaning: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP {name} {meaning}", f"# TYPE {name} {type}"]
    lines += [f"{name}{_labels(labels)} {value!r}" for labels, value in sorted(samples, key=str)]
    return "\n".join(lines) + "\n"


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items()) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
