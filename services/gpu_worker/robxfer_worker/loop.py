"""The Celery task behind the bell: take the best job of the worker's queues, see it through, and take the next."""

import queue as queues
from collections.abc import Callable

import structlog
from celery import Celery

from robxfer_core import messaging
from robxfer_core.ledger import queue
from robxfer_core.ledger.engine import DATABASE_UNAVAILABLE

from .context import House, Slot
from .supervisor import supervise


class Slots:
    """The worker's slots; those that are free can be taken."""

    def __init__(self, slots: list[Slot]) -> None:
        self._free: queues.SimpleQueue[Slot] = queues.SimpleQueue()
        self._count = len(slots)
        for slot in slots:
            self._free.put(slot)

    def take(self) -> Slot | None:
        try:
            return self._free.get_nowait()
        except queues.Empty:
            return None

    def give(self, slot: Slot) -> None:
        self._free.put(slot)

    def free(self) -> bool:
        return not self._free.empty()

    def close(self) -> None:
        """Take them all, as each becomes free."""
        for _ in range(self._count):
            self._free.get()


def work(house: House, worker_id: str, slots: Slots, name: str) -> None:
    """Keep a slot busy, if one is free, until the worker's queues have nothing ready; the one of this name rang.

    It takes from all of them, for a slot that emptied one queue first would let no priority reach it from another.
    """
    slot = slots.take()
    if slot is None:
        return
    log = structlog.get_logger().bind(rang=name, slot=slot.number)
    settings = house.settings
    try:
        while not house.draining.is_set():
            gpus = len(slot.gpus) or None
            claim = queue.claim(house.engine, worker_id, settings.queues, settings.lease_s, slot.device, gpus)
            if claim is None:
                return
            if slots.free():
                messaging.notify(settings, [name])  # a message wakes one slot: pass it on while there may be more
            supervise(house, claim, slot)
            messaging.notify(settings, queue.sweep(house.engine))  # what the job's end made ready
    except DATABASE_UNAVAILABLE as error:
        log.warning("the slot gives up its turn: the database is away", error=str(error))
    except Exception:
        log.exception("the slot gave up its turn")
    finally:
        slots.give(slot)


def make_worker_app(house: House, work: Callable[[str], None]) -> Celery:
    """The Celery application whose task is `work(queue)`."""
    app = messaging.make_app(house.settings.broker_url)

    @app.task(name=messaging.TASK)
    def heard(name: str) -> None:
        work(name)

    return app
