"""A thread that holds an attempt's lease, whatever the supervisor is busy with: a download, an upload, a slow write."""

import contextlib
import signal
import socket
import threading
import time

from sqlalchemy import Engine
from structlog.typing import FilteringBoundLogger

from robxfer_core.ledger import queue
from robxfer_core.ledger.attempts import Fence
from robxfer_core.settings import Settings
from robxfer_core.spec.records import Progress

from .forkserver import Child


class Lost(Exception):
    """The attempt is no longer this worker's, or nobody can tell: leave everything and write nothing. Says why."""


class Lease:
    """Renews every `wanted_s` seconds and carries the job's progress along; a context that ends with the attempt.

    `wanted` turns false when nobody wants the job any more. `lost` is true once the ledger says that another attempt
    holds the job, or has not answered for as long as a lease lasts. Each renewal is passed on to the child's watch. A
    child that computes for nobody is killed at once, for it has nothing to save and its device is wanted.
    """

    def __init__(self, engine: Engine, claim: queue.Claim, settings: Settings, log: FilteringBoundLogger) -> None:
        self.wanted = True
        self._fence = Fence(engine, claim.job_id, claim.attempt)
        self._settings, self._log = settings, log
        self._held = True
        self._started = self._renewed = self._told = time.monotonic()
        self._progress: Progress | None = None
        self._child: Child | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{claim.job_id}", daemon=True)

    def __enter__(self) -> "Lease":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def lost(self) -> bool:
        return not self._held or time.monotonic() - self._renewed > self._settings.lease_s

    def check(self) -> None:
        """Raise Lost if the lease is."""
        if not self._held:
            raise Lost("the ledger says that the attempt is over")
        if self.lost:
            raise Lost("the lease ran out before it could be renewed")

    def progress(self, progress: Progress) -> None:
        """Write this with a next renewal; of several, the latest."""
        self._progress = progress

    def feed(self, child: Child | None) -> None:
        """Pass renewals on to the child, or to none."""
        self._child = child

    def _keep(self) -> None:
        while not self._ended.wait(self._settings.wanted_s):
            try:
                self._renew()
            except Exception as error:
                self._log.warning("the lease could not be renewed", error=str(error))
            if not self._held:
                return

    def _renew(self) -> None:
        asked = time.monotonic()
        progress = self._due(asked)
        status = self._fence.renew(self._settings.lease_s, progress)
        self._held, self.wanted = status.held, self.wanted and status.wanted  # what is killed is not wanted back
        child = self._child
        if status.held:
            self._renewed = asked
            if child is not None:
                with contextlib.suppress(OSError):  # the child has ended, or is too busy to listen
                    child.channel.send(b"\n", socket.MSG_DONTWAIT)
        if child is not None and not (status.held and status.wanted):
            child.kill(signal.SIGKILL, group=True)

    def _due(self, at: float) -> Progress | None:
        # A line of progress is kept for ever: the longer a job runs, the fewer it writes.
        if self._progress is None or at - self._told < min(10.0, (at - self._started) / 50):
            return None
        progress, self._progress, self._told = self._progress, None, at
        return progress
