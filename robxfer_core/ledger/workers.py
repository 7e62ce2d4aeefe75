"""Workers: the queues that each serves, its device, the data sets that it can read, and when it last reported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, select, update

from robxfer_core.spec.states import WorkerState

from .engine import insert, now, read, write
from .tables import workers

LIVE_S = 30.0
"""A worker that has not reported for so many seconds does not count as live."""


@dataclass(frozen=True)
class Worker:
    """A worker as it last reported."""

    id: str
    queues: list[str]
    slots: int
    """Jobs that it runs at once."""
    device: str
    datasets: dict[str, Any]
    """The data sets that it can read, by name, with their shapes."""
    state: WorkerState
    seen_at: float
    """When it last reported, in seconds since the epoch."""


def heartbeat(
    engine: Engine, worker_id: str, queues: Sequence[str], slots: int, device: str, datasets: Mapping[str, Any]
) -> None:
    """Report that a worker is live, the queues that it serves and the data sets that it can read."""
    row = {
        "queues": list(queues),
        "slots": slots,
        "device": device,
        "datasets": dict(datasets),
        "state": WorkerState.LIVE,
    }
    with write(engine) as connection:
        put = insert(connection, workers).values(id=worker_id, seen_at=now(), **row)
        connection.execute(put.on_conflict_do_update(index_elements=["id"], set_={**row, "seen_at": now()}))


def mark_gone(engine: Engine, worker_id: str) -> None:
    """Report that a worker has shut down. The sweep takes back the jobs that it still held."""
    with write(engine) as connection:
        connection.execute(update(workers).where(workers.c.id == worker_id).values(state=WorkerState.GONE))


def is_live() -> ColumnElement[bool]:
    """The condition that a worker has not shut down and reported lately."""
    return and_(workers.c.state == WorkerState.LIVE, workers.c.seen_at > now() - LIVE_S)


def list_live(engine: Engine) -> list[Worker]:
    """Read the live workers, by id."""
    with read(engine) as connection:
        rows = connection.execute(select(workers).where(is_live()).order_by(workers.c.id))
        return [Worker(**row._mapping) for row in rows]


def known_datasets(engine: Engine) -> dict[str, Any] | None:
    """Read the data sets that workers can read, by name.

    Returns:
        Those of the live workers, or, where no worker is live, those that former workers reported last. None where no
        worker has ever reported.
    """
    with read(engine) as connection:
        rows = connection.execute(select(workers.c.datasets, is_live()).order_by(workers.c.seen_at)).all()
    if not rows:
        return None
    reported = [datasets for datasets, live in rows if live] or [datasets for datasets, _ in rows]
    return {name: info for datasets in reported for name, info in datasets.items()}
