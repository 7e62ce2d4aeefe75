"""What is remembered of a request: what it was about, how it was answered. A line in the log for each of them."""

import re
import time
import uuid
from dataclasses import dataclass

import structlog
from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from robxfer_core.ledger.tokens import hidden

LONGEST = 300
KINDS = {"exp": "experiment", "job": "job", "art": "artifact", "upl": "upload", "tok": "token"}
_ID = re.compile(r"/((?!rbx_)[a-z]{3}_[0-9a-z]{1,40})(?=/|$)")
_REQUEST_ID = re.compile(r"(?!.*rbx_)[A-Za-z0-9._-]{1,64}")

log = structlog.get_logger()


def shown(text: str) -> str:
    """Text of a stranger's as it is written down: one line, not long, no token, and what every database takes."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in hidden(text)[:LONGEST])


def subject_of(path: str) -> str | None:
    """The first id in a path: '/v1/jobs/job_1/logs' -> 'job_1'."""
    found = _ID.search(path)
    return found[1] if found else None


def action_of(method: str, path: str) -> str:
    """What a request asks for, whatever it asks it of: 'POST /v1/experiments/{id}/cancel'."""
    return f"{shown(method)} {shown(_ID.sub('/{id}', path))}"


def address_of(request: Request) -> str:
    return request.client.host if request.client else "local"


@dataclass
class Answered:
    """How a request was answered, as far as it is by now; where nothing was sent, something went wrong."""

    status: int = 500
    made: str | None = None
    """The id of what it made."""


def watched(send: Send, request_id: str | None = None) -> tuple[Send, Answered]:
    """A `send` that notes the answer, and puts the request's id into it."""
    answered = Answered()

    async def watch(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            answered.status = message["status"]
            answered.made = subject_of(headers.get("location", ""))
            if request_id is not None:
                headers["X-Request-ID"] = request_id
        await send(message)

    return watch, answered


class RequestLog:
    """ASGI middleware: a line for each request once it is answered, and its id on every line that it causes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, started = Request(scope), time.perf_counter()
        given = request.headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        send, answered = watched(send, request_id)
        with structlog.contextvars.bound_contextvars(request=request_id):
            try:
                await self._app(scope, receive, send)
            finally:
                self._write(request, answered, time.perf_counter() - started)

    def _write(self, request: Request, answered: Answered, seconds: float) -> None:
        caller = getattr(request.state, "caller", None)
        subject = answered.made or subject_of(request.url.path)
        log.info(
            "request",
            method=shown(request.method),
            path=shown(request.url.path),
            route=getattr(request.scope.get("route"), "path", None),
            status=answered.status,
            ms=round(1000 * seconds, 1),
            caller=caller and caller.name,
            project=caller and caller.project,
            address=address_of(request),
            **({KINDS.get(subject[:3], "subject"): subject} if subject else {}),
        )
