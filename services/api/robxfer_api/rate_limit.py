"""How often, and how much: requests a minute and at once of each caller, and bytes of a body."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from robxfer_core.planning.experiment import MAX_BYTES
from robxfer_core.settings import Settings

from .errors import Refused, answer

LARGE: dict[tuple[str, str], Callable[[Settings], int]] = {}
"""Method and path of what takes a larger body than all else, and how many bytes that may have."""


class Rate:
    """At most so many requests a minute of each key: all of them at once, or evenly.

    Kept is, for each key, when its allowance is whole again (the generic cell rate algorithm): one number, in this
    process alone.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._each = 60.0 / per_minute
        self._clock = clock
        self._whole_at: dict[str, float] = {}
        self._lock = threading.Lock()
        self._prune_at = 1024

    def take(self, key: str) -> float:
        """Seconds to wait until the key may ask again; 0.0 where it may now, which is counted."""
        with self._lock:
            now = self._clock()
            self._prune(now)
            whole_at = max(self._whole_at.get(key, now), now) + self._each
            wait = whole_at - 60.0 - now
            if wait > 1e-9:
                return wait
            self._whole_at[key] = whole_at
            return 0.0

    def _prune(self, now: float) -> None:
        """Forget the keys that have asked for nothing in a while, whenever there are twice as many as at last."""
        if len(self._whole_at) >= self._prune_at:
            self._whole_at = {key: at for key, at in self._whole_at.items() if at > now}
            self._prune_at = max(1024, 2 * len(self._whole_at))


class AtOnce:
    """At most so many of something at the same time of each key, in this process. For the event loop alone."""

    def __init__(self, most: int, what: str) -> None:
        self._most, self._what = most, what
        self._held: Counter[str] = Counter()

    @contextmanager
    def one(self, key: str) -> Iterator[None]:
        """One of the key's, for as long as the block runs. Raises Refused where it has as many as it may."""
        if self._held[key] >= self._most:
            told = f"{self._held[key]} {self._what} of this caller's are open; takes {self._most}. Ask again later."
            raise Refused(429, told, headers={"Retry-After": "5"})
        self._held[key] += 1
        try:
            yield
        finally:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]


class BodyLimit:
    """ASGI middleware: a body that is too large is refused by what it declares, or else where it passes its limit."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        large = LARGE.get((scope["method"], scope["path"]))
        limit = large(self._settings) if large else MAX_BYTES
        told = f"The body has more than {limit} bytes; this takes at most that."
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            await answer(Refused(413, told).problem)(scope, receive, send)
            return
        got = 0

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > limit:
                raise HTTPException(413, told)
            return message

        await self._app(scope, counted, send)
