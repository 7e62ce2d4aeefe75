"""Requests to one service: repeated where that does no harm, and answers read into their models."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx2
import stamina
from pydantic import BaseModel, ValidationError

from robxfer_core.spec.wire.jobs import EventView
from robxfer_core.spec.wire.queries import Query

from .errors import Unreachable, api_error

T = TypeVar("T", bound=BaseModel)

TRIES = 4
RETRIED_STATUSES = frozenset({429, 502, 503, 504})
QUIET_S = 45.0
"""A stream that sends nothing for so long is dead: the service sends a comment every 15 s."""
GIVE_UP_S = 60.0
"""How long a broken stream is reconnected before it is given up."""


class _Busy(Exception):
    """The service asks to try again."""


class Transport:
    """An HTTP connection to one service.

    Args:
        base_url: URL of the service.
        token: Token to authenticate with; none for a service that is open.
        timeout: Seconds to wait for an answer.

    Raises:
        Unreachable: The URL is not valid.
    """

    def __init__(self, base_url: str, token: str | None, timeout: float) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = timeout
        try:
            self.http = httpx2.Client(base_url=base_url, headers=headers, timeout=timeout, follow_redirects=True)
        except httpx2.InvalidURL as error:
            raise Unreachable(f"{base_url}: {error}") from error

    def get(self, path: str, model: type[T], query: Query | None = None) -> T:
        """Sends a GET request and reads the answer."""
        return self.read(model, self.send("GET", path, params=query.params() if query else {}))

    def read(self, model: type[T], response: httpx2.Response) -> T:
        """Reads an answer into its model.

        Raises:
            Unreachable: Something else than a robxfer service has answered.
        """
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise Unreachable(f"{self.http.base_url}: what answers there is no robxfer service") from error

    def send(
        self, method: str, path: str, make_content: Callable[[], Iterator[bytes]] | None = None, **request: Any
    ) -> httpx2.Response:
        """Sends a request up to TRIES times.

        Args:
            method: HTTP method.
            path: Path on the service.
            make_content: Makes the body anew for each try, where it is too large to keep.
            **request: Further arguments of `httpx2.Client.request`.

        Returns:
            A response with a status of success.

        Raises:
            ApiError: The service refuses the request.
            Unreachable: The service does not answer.
        """
        try:
            for attempt in stamina.retry_context(
                on=(httpx2.TransportError, _Busy), attempts=TRIES, wait_initial=0.1, wait_max=2.0, wait_jitter=0.2
            ):
                with attempt:
                    if make_content is not None:
                        request["content"] = make_content()
                    response = self.http.request(method, path, **request)
                    _raise_for_status(response, retry=attempt.num < TRIES)
                    return response
        except httpx2.TransportError as error:
            raise Unreachable(f"{self.http.base_url}: {error or type(error).__name__}") from error
        raise AssertionError("the last attempt returns or raises")

    def events(self, path: str, last_id: int) -> Iterator[EventView]:
        """Reads an event stream to its `end` event; a broken stream is resumed after the last event.

        Raises:
            ApiError: The service refuses the request.
            Unreachable: The service does not answer for GIVE_UP_S seconds.
        """
        broken_since: float | None = None
        wait = 0.1
        while True:
            try:
                with self._open_stream(path, last_id) as source:
                    broken_since = None
                    for message in source:
                        if message.data:
                            event = EventView.model_validate_json(message.data)
                            last_id, wait = event.id, 0.1
                            yield event
                            if event.type == "end":
                                return
            except (httpx2.TransportError, _Busy) as error:
                broken_since = broken_since or time.monotonic()
                if time.monotonic() - broken_since > GIVE_UP_S:
                    raise Unreachable(f"{self.http.base_url}: {error or type(error).__name__}") from error
            time.sleep(wait)
            wait = min(2 * wait, 5.0)

    @contextmanager
    def _open_stream(self, path: str, last_id: int) -> Iterator[httpx2.EventSource]:
        headers = {"Last-Event-ID": str(last_id)} if last_id else {}
        timeout = httpx2.Timeout(self._timeout, read=QUIET_S)
        with self.http.sse(path, headers=headers, timeout=timeout) as source:
            _raise_for_status(source.response, retry=True)
            yield source


def _raise_for_status(response: httpx2.Response, retry: bool) -> None:
    if retry and response.status_code in RETRIED_STATUSES:
        raise _Busy(f"status {response.status_code}")
    if not response.is_success:
        raise api_error(response)
