"""Limits on callers: requests a minute, and how many of something at the same time."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .errors import HTTPProblem

WINDOW_S = 60.0


class RateLimiter:
    """Allows a number of requests a minute for each key, all at once or spread out.

    For each key it stores one number, the time at which the key's allowance is full again (the generic cell rate
    algorithm). It counts in this process alone.

    Args:
        per_minute: Requests that a key may make a minute.
        clock: Returns the time in seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = WINDOW_S / per_minute
        self._clock = clock
        self._full_at: dict[str, float] = {}
        self._lock = threading.Lock()
        self._prune_at = 1024

    def take(self, key: str) -> float:
        """Counts a request of the key.

        Returns:
            0.0 where the request is allowed; else the seconds to wait, and the request is not counted.
        """
        with self._lock:
            now = self._clock()
            self._prune(now)
            full_at = max(self._full_at.get(key, now), now) + self._interval
            wait = full_at - WINDOW_S - now
            if wait > 1e-9:
                return wait
            self._full_at[key] = full_at
            return 0.0

    def _prune(self, now: float) -> None:
        """Forgets keys whose allowance is full, each time the number of keys has doubled."""
        if len(self._full_at) >= self._prune_at:
            self._full_at = {key: at for key, at in self._full_at.items() if at > now}
            self._prune_at = max(1024, 2 * len(self._full_at))


class ConcurrencyLimiter:
    """Allows each key a number of things at the same time, in this process. To be used on the event loop only.

    Args:
        limit: How many a key may hold.
        what: Plural name of the things, for the message.
    """

    def __init__(self, limit: int, what: str) -> None:
        self._limit, self._what = limit, what
        self._held: Counter[str] = Counter()

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Holds one of the key's things for the length of the block.

        Raises:
            HTTPProblem: 429, the key holds as many as it may.
        """
        if self._held[key] >= self._limit:
            detail = f"This caller has {self._held[key]} {self._what} open; takes {self._limit}. Try again later."
            raise HTTPProblem(429, detail, headers={"Retry-After": "5"})
        self._held[key] += 1
        try:
            yield
        finally:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]
