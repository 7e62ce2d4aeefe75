"""Streams a request's body to the store in pieces, counted and hashed on the way; it is kept whole or not at all."""

import asyncio
import base64
import binascii
import hashlib
import logging
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from anyio import from_thread, to_thread
from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from robxfer_core.ledger import uploads
from robxfer_core.ledger.ids import new_id
from robxfer_core.ledger.uploads import FILE_NAME, Upload

from .context import ApiContext
from .errors import PROBLEM_JSON, HTTPProblem, invalid_parameter

MEDIA_TYPES = (
    "application/octet-stream",
    "application/zip",
    "application/x-zip-compressed",
    "application/x-tar",
    "application/gzip",
    "application/x-gzip",
)
UPLOAD_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": description,
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/ProblemView"}}},
    }
    for status, description in {
        400: "The upload broke off.",
        408: "The client sent nothing for too long, or too slowly.",
        503: "The store does not take the upload, or too many uploads arrive at this moment.",
    }.items()
}
"""Describes the responses in /openapi.json, beside those of every route."""
IDLE_TIMEOUT_S = 60
"""Seconds without a byte after which an upload is given up."""
MIN_BYTES_PER_S = 64 << 10
"""Least rate of a client, once PATIENCE_S seconds were spent in waiting for it."""
PATIENCE_S = 60
_DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]*):\s*(?:;[^,]*)?(?=,|$)")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UploadRequest:
    """An upload whose headers have been checked and whose body has not been read."""

    body: AsyncIterator[bytes]
    sha256: str | None
    """What the body must have, in hex, where the client says so in Content-Digest (RFC 9530)."""


def _upload_request(request: Request) -> UploadRequest:
    """Checks the headers; the length of the body is checked by the middleware."""
    headers = request.headers
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in MEDIA_TYPES:
        raise HTTPProblem(
            415, f"The header Content-Type is {media_type or 'missing'!r}; takes {', '.join(MEDIA_TYPES)}."
        )
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise HTTPProblem(415, "The header Content-Encoding takes none: the file is stored as it comes.")
    return UploadRequest(request.stream(), _sha256(headers.get("content-digest")))


def _sha256(content_digest: str | None) -> str | None:
    if content_digest is None or "sha-256=" not in content_digest:
        return None
    match = _DIGEST.search(content_digest)
    try:
        digest = base64.b64decode(match[1], validate=True) if match else b""
    except binascii.Error:
        digest = b""
    if len(digest) != 32:
        raise invalid_parameter("header", "Content-Digest", content_digest, "sha-256=:BASE64 OF 32 BYTES:")
    return digest.hex()


UploadBody = Annotated[UploadRequest, Depends(_upload_request)]
"""The body of an upload, as a dependency of routes."""


async def store_upload(ctx: ApiContext, project: str, request: UploadRequest, sender: str | None) -> Upload:
    """Stores the body of a request as an upload of a project.

    Args:
        ctx: The app's context.
        project: The project.
        request: The upload.
        sender: Name of the token that sends it.

    Returns:
        The upload; where the project has the same content already, the earlier one.

    Raises:
        HTTPProblem: It cannot be stored. Nothing of it is kept.
        RequestValidationError: The body does not have the sha256 that its headers say.
    """
    threads = ctx.upload_threads
    if threads.available_tokens < 1:
        detail = f"{threads.total_tokens} uploads arrive at this moment; try again."
        raise HTTPProblem(503, detail, headers={"Retry-After": "5"})
    try:
        return await to_thread.run_sync(_store, ctx, project, request, sender, limiter=threads)
    except ClientDisconnect:
        raise HTTPProblem(400, "The upload broke off; nothing of it is kept.") from None


def _store(ctx: ApiContext, project: str, request: UploadRequest, sender: str | None) -> Upload:
    id = new_id("upl")
    stream = UploadStream(request.body)
    try:
        uploads.begin(ctx.engine, project, id, sender)
        try:
            ctx.store.write(f"{uploads.prefix_of(project, id)}/{FILE_NAME}", stream.pieces())
            stream.check(request.sha256)
        except BaseException:
            _remove(ctx, project, id)
            raise
        # If this fails, the commit may have happened all the same: the bytes stay, to be found again or collected.
        upload = uploads.finish(ctx.engine, project, id, stream.sha256, stream.size)
    except (HTTPProblem, HTTPException, RequestValidationError, ClientDisconnect):
        raise
    except Exception:
        log.exception("an upload could not be stored")
        raise HTTPProblem(503, "The upload could not be stored; send it again.") from None
    if upload is None or upload.id != id:  # else the project has this content already
        _remove(ctx, project, id)
    if upload is None:
        raise HTTPProblem(503, "The upload took more than a day and was given up; send it again.")
    return upload


class UploadStream:
    """A body that is read in a worker thread, with its size and its sha256 so far.

    Args:
        body: The pieces of the body, read on the event loop.
    """

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self.size = 0
        self._waited_s = 0.0
        self._body, self._digest = body, hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of the bytes so far, in hex."""
        return self._digest.hexdigest()

    def pieces(self) -> Iterator[bytes]:
        """Yields the pieces; each is requested when the one before is stored.

        Raises:
            HTTPProblem: 408, the client sends nothing for too long, or too slowly.
        """
        while piece := from_thread.run(self._next):
            self.size += len(piece)
            self._digest.update(piece)
            self._check_rate()
            yield piece

    async def _next(self) -> bytes:
        waiting_since = time.monotonic()
        try:
            async with asyncio.timeout(IDLE_TIMEOUT_S):
                async for piece in self._body:
                    if piece:
                        return piece
        except TimeoutError:
            raise HTTPProblem(408, f"Nothing came for {IDLE_TIMEOUT_S} s; nothing of the upload is kept.") from None
        finally:
            self._waited_s += time.monotonic() - waiting_since
        return b""

    def _check_rate(self) -> None:
        """Refuses a slow client; time that the store takes does not count."""
        if self._waited_s > PATIENCE_S and self.size < MIN_BYTES_PER_S * self._waited_s:
            came = f"{self.size} bytes came in {self._waited_s:.0f} s"
            raise HTTPProblem(408, f"{came}; takes {MIN_BYTES_PER_S} a second. Nothing of it is kept.")

    def check(self, sha256: str | None) -> None:
        """Checks the whole body.

        Raises:
            HTTPProblem: 422, the body is empty.
            RequestValidationError: It does not have the given sha256.
        """
        if self.size == 0:
            raise HTTPProblem(422, "The body is empty; takes a file.")
        if sha256 not in (None, self.sha256):
            takes = f"the sha256 of what came, {self.sha256}"
            raise invalid_parameter("header", "Content-Digest", f"sha256 {sha256}", takes)


def _remove(ctx: ApiContext, project: str, id: str) -> None:
    """Removes the bytes of an upload, then its row."""
    try:
        ctx.store.delete(uploads.prefix_of(project, id))
        uploads.delete_row(ctx.engine, id)
    except Exception as error:  # garbage collection will remove it
        log.warning("the upload %s could not be removed: %s", id, error)
