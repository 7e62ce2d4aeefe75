"""The Celery task behind the bell: take the best job of a queue, see it through, and take the next."""

import queue as queues

import structlog
from celery import Celery

from robxfer_core import bell
from robxfer_core.ledger import queue

from .supervisor import House, Slot, supervise


class Slots:
    """The worker's slots; those that are free can be taken."""

    def __init__(self, slots: list[Slot]) -> None:
        self._free: queues.SimpleQueue[Slot] = queues.SimpleQueue()
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


def make_worker_app(house: House, worker_id: str, slots: Slots) -> Celery:
    """The Celery application whose task `work(queue)` keeps a slot busy until the queue has nothing ready."""
    app = bell.make_app(house.settings.broker_url)

    @app.task(name=bell.TASK)
    def work(name: str) -> None:
        slot = slots.take()
        if slot is None:
            return
        try:
            while not house.draining.is_set():
                claim = queue.claim(house.engine, worker_id, [name], house.settings.lease_s, slot.device)
                if claim is None:
                    return
                if slots.free():
                    bell.ring(house.settings, [name])  # a message wakes one slot: pass it on while there may be more
                supervise(house, claim, slot)
                bell.ring(house.settings, queue.sweep(house.engine))  # what the job's end made ready
        except Exception:
            structlog.get_logger().exception("the slot gave up its turn", queue=name, slot=slot.number)
        finally:
            slots.give(slot)

    return app
