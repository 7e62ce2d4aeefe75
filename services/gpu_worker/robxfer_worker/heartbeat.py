"""What a worker does beside its jobs: says that it lives and what it can read, sweeps, and takes up ready jobs.

No bell is needed for these, so a broker that is away, or a consumer that has gone deaf, costs seconds and no job.
"""

import threading
import time
from collections.abc import Callable

import structlog

from robxfer_core.ledger import queue, workers
from robxfer_core.settings import Settings
from robxfer_core.spec import datasets

from .context import House
from .loop import Slots

SCAN_S = 60.0  # seconds between looks for new data sets


class Rounds(threading.Thread):
    """Runs until `stop`. A round that fails, as when the database is away, is logged and made again."""

    def __init__(
        self, house: House, worker_id: str, slots: Slots, work: Callable[[str], None], mark: Callable[[], None]
    ) -> None:
        super().__init__(name="rounds", daemon=True)
        self._mark = mark  # called at each round, whether the database answers or not
        self._house, self._id, self._slots, self._work = house, worker_id, slots, work
        self._stopped = threading.Event()
        self._log = structlog.get_logger().bind(worker=worker_id)
        self._datasets: dict[str, datasets.DatasetInfo] = {}
        self._scanned = float("-inf")

    def run(self) -> None:
        settings = self._house.settings
        beats = sweeps = float("-inf")
        while not self._stopped.is_set():
            self._mark()
            at = time.monotonic()
            if at - beats >= settings.heartbeat_s:
                beats = at
                self._try(self._beat, settings)
            if at - sweeps >= settings.sweep_s:
                sweeps = at
                self._try(self._sweep, settings)
            soonest = min(beats + settings.heartbeat_s, sweeps + settings.sweep_s)
            self._stopped.wait(max(0.01, soonest - time.monotonic()))
        self._try(lambda _: workers.mark_gone(self._house.engine, self._id), settings)

    def report(self) -> None:
        """Say at once that the worker lives and what it can read."""
        self._try(self._beat, self._house.settings)

    def stop(self) -> None:
        """Say that the worker is gone, and end."""
        self._stopped.set()
        self.join()

    def _try(self, duty: Callable[[Settings], None], settings: Settings) -> None:
        try:
            duty(settings)
        except Exception as error:
            self._log.warning("a round failed", error=str(error))

    def _beat(self, settings: Settings) -> None:
        if time.monotonic() - self._scanned >= SCAN_S:
            self._datasets, self._scanned = datasets.scan(settings.data_root), time.monotonic()
        device = "cuda" if settings.gpus else "cpu"
        workers.heartbeat(self._house.engine, self._id, settings.queues, settings.slots, device, dict(self._datasets))

    def _sweep(self, settings: Settings) -> None:
        for name in queue.sweep(self._house.engine):
            if name in settings.queues and self._slots.free() and not self._house.draining.is_set():
                threading.Thread(target=self._work, args=(name,), name=f"work-{name}", daemon=True).start()
