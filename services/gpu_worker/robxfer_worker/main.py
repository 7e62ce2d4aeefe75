"""The worker's process: `python -P -m robxfer_worker.main`, told everything by ROBXFER_* (see settings.py)."""

import os
import socket
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import structlog
from celery import signals
from celery.platforms import SecurityWarning

from robxfer_core import messaging
from robxfer_core.ledger.engine import connect
from robxfer_core.logs import log_to
from robxfer_core.settings import Settings
from robxfer_core.storage import open_store

from .cache import Cache
from .context import House, Slot
from .forkserver import ForkServer
from .hardening import keep_private
from .heartbeat import Rounds
from .loop import Slots, make_worker_app, work
from .shutdown import Drain
from .workdir import OwnFolder, empty


def main(settings: Settings, ready: Callable[[], None] | None = None) -> int:
    """Work until SIGTERM or SIGINT and return the exit status. Needs the main thread, for the signals.

    `ready` is called once messages are taken. On a signal nothing more is claimed, and the jobs that run have
    `grace_s` to write a checkpoint; they go back to the queue. The database must be migrated.
    """
    keep_private()
    _log_to_stderr()
    worker_id = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    places = Slots(make_slots(settings))
    with _house(settings) as (house, folder):
        house.forks.start()
        app = make_worker_app(house, partial(work, house, worker_id, places))
        rounds = Rounds(house, worker_id, places, partial(work, house, worker_id, places), folder.mark)

        def on_ready(**_: Any) -> None:
            rounds.report()  # before it says that it is ready: specs are checked against what it can read
            structlog.get_logger().info("ready", worker=worker_id, queues=settings.queues, slots=settings.slots)
            if ready is not None:
                ready()

        def on_shutting_down(**_: Any) -> None:
            house.draining.set()

        signals.worker_ready.connect(on_ready)
        signals.worker_shutting_down.connect(on_shutting_down)
        app.amqp.queues.select([messaging.wire_name(name) for name in settings.queues])
        program = app.Worker(
            pool="threads",
            concurrency=settings.slots,
            hostname=worker_id,
            quiet=True,
            loglevel="WARNING",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        rounds.start()  # before there is a broker: no job waits for one
        try:
            program.start()
            house.draining.set()
            places.close()  # Celery has waited for the slots that a message woke; the rounds wake some as well
        finally:
            house.draining.set()
            signals.worker_ready.disconnect(on_ready)
            signals.worker_shutting_down.disconnect(on_shutting_down)
            rounds.stop()
    return program.exitcode or 0


def make_slots(settings: Settings) -> list[Slot]:
    """The slots of a worker: each with its share of the GPUs, in order.

    Where CUDA_VISIBLE_DEVICES lends the worker some GPUs, as a cluster's scheduler does, `gpus` counts among those.
    Raises ValueError where one is not among them.
    """
    lent = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(gpu) for gpu in settings.gpus]
    if lent is not None and names:
        visible = [name.strip() for name in lent.split(",") if name.strip()]
        if max(settings.gpus) >= len(visible):
            numbers = f"0 to {len(visible) - 1}" if visible else "none"
            raise ValueError(f"gpus: got {', '.join(names)}; takes {numbers}, of CUDA_VISIBLE_DEVICES={lent}")
        names = [visible[gpu] for gpu in settings.gpus]
    share = settings.gpus_per_slot if names else 0
    return [Slot(n, tuple(names[n * share : (n + 1) * share])) for n in range(settings.slots)]


@contextmanager
def _house(settings: Settings) -> Iterator[tuple[House, OwnFolder]]:
    assert settings.work_dir is not None
    assert settings.cache_dir is not None
    work, cache = OwnFolder(settings.work_dir), OwnFolder(settings.cache_dir)
    empty(work.path)  # what attempts of a worker that was killed left
    engine = connect(settings.database_url)
    forks = ForkServer(settings.cpu_threads)
    try:
        house = House(
            settings=settings,
            engine=engine,
            store=open_store(settings.store_url, settings),
            cache=Cache(cache.path, int(settings.cache_gb * 1e9)),
            forks=forks,
            work=work.path,
            draining=Drain(),
        )
        yield house, work
    finally:
        forks.stop()
        engine.dispose()
        work.close()
        cache.close()


def _log_to_stderr() -> None:
    log_to(sys.stderr)
    warnings.filterwarnings("ignore", category=SecurityWarning)  # of root and pickle: messages here are JSON alone
    signals.setup_logging.connect(_leave_logging_alone)


def _leave_logging_alone(**_: Any) -> None:
    """Celery configures logging itself unless somebody listens to this signal."""


if __name__ == "__main__":
    sys.exit(main(Settings()))
