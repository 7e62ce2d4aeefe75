"""Facts about requests and responses, as the audit log and the request log record them."""

import re
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

from robxfer_core.ledger.tokens import redact

MAX_TEXT = 300
_ID = re.compile(r"/((?!rbx_)[a-z]{3}_[0-9a-z]{1,40})(?=/|$)")


def printable(text: str) -> str:
    """Makes text from outside safe to record: one line, at most MAX_TEXT characters, without tokens."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in redact(text)[:MAX_TEXT])


def subject_id(path: str) -> str | None:
    """The first id in a path: "/v1/jobs/job_1/logs" -> "job_1"."""
    match = _ID.search(path)
    return match[1] if match else None


def action_name(method: str, path: str) -> str:
    """What a request does, without the id: "POST /v1/experiments/{id}/cancel"."""
    return f"{printable(method)} {printable(_ID.sub('/{id}', path))}"


def client_address(request: Request) -> str:
    """The client's IP address; behind a trusted proxy, the one that the proxy reports."""
    return request.client.host if request.client else "local"


@dataclass
class ResponseRecord:
    """What is known of a response so far."""

    status: int = 500
    """500 until the response begins: a request that sends nothing has failed."""
    created_id: str | None = None
    """Id of what the request has created, from the header Location."""


def record_response(send: Send, request_id: str | None = None) -> tuple[Send, ResponseRecord]:
    """Wraps an ASGI `send` so that the response's status and Location are recorded.

    Args:
        send: The callable to wrap.
        request_id: Set as the response's header X-Request-ID.

    Returns:
        The wrapped callable, and the record that it fills in.
    """
    record = ResponseRecord()

    async def recording_send(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            record.status = message["status"]
            record.created_id = subject_id(headers.get("location", ""))
            if request_id is not None:
                headers["X-Request-ID"] = request_id
        await send(message)

    return recording_send, record
