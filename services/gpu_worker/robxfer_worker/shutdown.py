"""When an attempt has to end: the worker's drain, and the notice that a running child is given."""

import math
import signal
import threading
import time
from collections.abc import Callable

from .forkserver import Child


class Drain(threading.Event):
    """Set when the worker is to end."""

    at = math.inf
    """When it was, by the monotonic clock."""

    def set(self) -> None:
        self.at = min(self.at, time.monotonic())
        super().set()


class Notice:
    """Tells a child to stop once there is a `reason`: by SIGTERM, and when it is `overdue` by SIGKILL to its group.

    A thread of its own, since the supervisor may be storing a checkpoint, and the lease waiting for the database; a
    context that ends with the child.
    """

    def __init__(
        self, child: Child, reason: Callable[[], str | None], overdue: Callable[[], bool], every_s: float
    ) -> None:
        self.given: str | None = None
        """The reason, once the child was told."""
        self._child, self._reason, self._overdue, self._every_s = child, reason, overdue, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"notice-{child.pid}", daemon=True)

    def __enter__(self) -> "Notice":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._every_s):
            if self.given is None:
                self.given = self._reason()
                if self.given is not None:
                    self._child.kill(signal.SIGTERM, group=False)
            elif self._overdue():
                self._child.kill(signal.SIGKILL, group=True)
