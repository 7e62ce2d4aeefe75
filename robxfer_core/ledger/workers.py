"""Who works: what each worker serves, its device, the data sets that it can read, when it was last heard of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, select, update

from robxfer_core.spec.datasets import DatasetInfo

from .engine import insert, now, read, write
from .tables import workers

LIVE_S = 30.0
"""A worker that was not heard of for so long is not counted as live."""


@dataclass(frozen=True)
class Worker:
    id: str
    queues: list[str]
    slots: int
    device: str
    datasets: dict[str, Any]
    state: str
    """live (which `seen_at` may belie) or gone."""
    seen_at: float


def heartbeat(
    engine: Engine, worker_id: str, queues: Sequence[str], slots: int, device: str, datasets: dict[str, Any]
) -> None:
    """Say that a worker is there, and what it serves and reads."""
    row = {"queues": list(queues), "slots": slots, "device": device, "datasets": datasets, "state": "live"}
    with write(engine) as connection:
        put = insert(connection, workers).values(id=worker_id, seen_at=now(), **row)
        connection.execute(put.on_conflict_do_update(index_elements=["id"], set_={**row, "seen_at": now()}))


def gone(engine: Engine, worker_id: str) -> None:
    """Say that a worker has left. (What it was running is taken back by the sweep.)"""
    with write(engine) as connection:
        connection.execute(update(workers).where(workers.c.id == worker_id).values(state="gone"))


def is_live() -> ColumnElement[bool]:
    """Whether the worker of the row is there."""
    return and_(workers.c.state == "live", workers.c.seen_at > now() - LIVE_S)


def live(engine: Engine) -> list[Worker]:
    """The workers that are there."""
    with read(engine) as connection:
        rows = connection.execute(select(workers).where(is_live()).order_by(workers.c.id))
        return [Worker(**row._mapping) for row in rows]


def known_datasets(engine: Engine) -> dict[str, DatasetInfo] | None:
    """The data sets that live workers say they can read, by name; where none is live, what those gone last said.

    None: no worker ever reported.
    """
    with read(engine) as connection:
        rows = connection.execute(select(workers.c.datasets, is_live()).order_by(workers.c.seen_at)).all()
    if not rows:
        return None
    said = [datasets for datasets, live in rows if live] or [datasets for datasets, _ in rows]
    return {name: facts for report in said for name, facts in report.items()}
