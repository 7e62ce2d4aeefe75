"""A request's body on its way to the store: in pieces, counted and hashed as it comes, kept whole or not at all."""

import asyncio
import base64
import binascii
import hashlib
import logging
import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from anyio import from_thread, to_thread
from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from robxfer_core.ledger import uploads
from robxfer_core.ledger.ids import new_id
from robxfer_core.ledger.uploads import FILE, Upload

from .context import Context
from .errors import Refused, wrong_header

PROBLEM = {"$ref": "#/components/schemas/ProblemView"}
MEDIA = (
    "application/octet-stream",
    "application/zip",
    "application/x-zip-compressed",
    "application/x-tar",
    "application/gzip",
    "application/x-gzip",
)
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": told, "content": {"application/problem+json": {"schema": PROBLEM}}}
    for status, told in {
        400: "The upload broke off.",
        408: "The upload fell silent, or was too slow.",
        503: "The store does not take it, or too many uploads arrive at this moment.",
    }.items()
}
SILENT_S = 60  # seconds without a byte after which a sender is given up
LEAST = 64 << 10  # bytes a second that a sender must manage,
SLOW_S = 60  # of all seconds that were spent in waiting for it, once they are so many
DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]*):\s*(?:;[^,]*)?(?=,|$)")

log = logging.getLogger(__name__)


def expected(request: Request) -> str | None:
    """The sha256, in hex, that the header Content-Digest (RFC 9530) says of the body, if it does.

    Headers are judged here, before anything is read; how long the body may be is the middleware's to say.
    """
    headers = request.headers
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in MEDIA:
        raise Refused(415, f"The header Content-Type is {media or 'missing'!r}; takes {', '.join(MEDIA)}.")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refused(415, "The header Content-Encoding takes none: the file is stored as it comes.")
    given = headers.get("content-digest")
    if given is None or "sha-256=" not in given:
        return None
    found = DIGEST.search(given)
    try:
        digest = base64.b64decode(found[1], validate=True) if found else b""
    except binascii.Error:
        digest = b""
    if len(digest) != 32:
        raise wrong_header("Content-Digest", given, "sha-256=:BASE64 OF 32 BYTES:")
    return digest.hex()


Expected = Annotated[str | None, Depends(expected)]


async def receive(ctx: Context, project: str, request: Request, sha256: str | None, sender: str | None) -> Upload:
    """Keep a request's body as an upload of the project. Raises Refused; what is left of it then, nobody finds.

    sha256: what the body must have, where that is known.
    """
    if ctx.uploading.available_tokens < 1:
        raise Refused(
            503, f"{ctx.uploading.total_tokens} uploads arrive at this moment; try again.", headers={"Retry-After": "5"}
        )
    body = request.stream()
    try:
        return await to_thread.run_sync(_keep, ctx, project, body, sha256, sender, limiter=ctx.uploading)
    except ClientDisconnect:
        raise Refused(400, "The upload broke off; nothing of it is kept.") from None


def _keep(ctx: Context, project: str, body: AsyncIterator[bytes], sha256: str | None, sender: str | None) -> Upload:
    id = new_id("upl")
    coming = _Coming(body)
    try:
        uploads.begin(ctx.engine, project, id, sender)
        try:
            ctx.store.write(f"{uploads.prefix_of(project, id)}/{FILE}", coming.pieces())
            coming.check(sha256)
        except BaseException:
            _remove(ctx, project, id)
            raise
        # Where this fails, it may have been done: what is there stays, and is found again or collected.
        upload = uploads.finish(ctx.engine, project, id, coming.sha256, coming.size)
    except (Refused, HTTPException, RequestValidationError, ClientDisconnect):
        raise
    except Exception:
        log.exception("an upload could not be kept")
        raise Refused(503, "The upload could not be stored; send it again.") from None
    if upload is None or upload.id != id:  # else the project has this content already
        _remove(ctx, project, id)
    if upload is None:
        raise Refused(503, "The upload took more than a day and was given up; send it again.")
    return upload


class _Coming:
    """A body as it comes: its size and its sha256 so far."""

    def __init__(self, body: AsyncIterator[bytes]) -> None:
        self.size = 0
        self._waited_s = 0.0
        self._body, self._digest = body, hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def pieces(self) -> Iterator[bytes]:
        """To be read in a worker thread; each piece is asked for when the one before is stored."""
        while piece := from_thread.run(self._next):
            self.size += len(piece)
            self._digest.update(piece)
            self._check_pace()
            yield piece

    async def _next(self) -> bytes:
        asked_at = time.monotonic()
        try:
            async with asyncio.timeout(SILENT_S):
                async for piece in self._body:
                    if piece:
                        return piece
        except TimeoutError:
            raise Refused(408, f"Nothing came for {SILENT_S} s; nothing of the upload is kept.") from None
        finally:
            self._waited_s += time.monotonic() - asked_at
        return b""

    def _check_pace(self) -> None:
        """Raise Refused where the sender, not the store, takes too long."""
        if self._waited_s > SLOW_S and self.size < LEAST * self._waited_s:
            told = f"{self.size} bytes came in {self._waited_s:.0f} s; takes {LEAST} a second. Nothing of it is kept."
            raise Refused(408, told)

    def check(self, sha256: str | None) -> None:
        """Raise Refused where nothing came, or something else than was said."""
        if self.size == 0:
            raise Refused(422, "The body is empty; takes a file.")
        if sha256 not in (None, self.sha256):
            raise wrong_header("Content-Digest", f"sha256 {sha256}", f"the sha256 of what came, {self.sha256}")


def _remove(ctx: Context, project: str, id: str) -> None:
    """Remove the bytes of an upload, then its row."""
    try:
        ctx.store.delete(uploads.prefix_of(project, id))
        uploads.drop(ctx.engine, id)
    except Exception as error:  # garbage collection will
        log.warning("the upload %s could not be removed: %s", id, error)
