"""Artifacts: the manifest, and each file by a signed link or streamed."""

import logging
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from robxfer_api.auth import Reader, Submitter
from robxfer_api.context import ApiContext, Ctx
from robxfer_api.errors import DAMAGED_FILE, PROBLEM_JSON, HTTPProblem, not_found
from robxfer_api.views import artifact_view
from robxfer_core.ledger import artifacts
from robxfer_core.spec.records import FileEntry
from robxfer_core.spec.wire.artifacts import ArtifactView
from robxfer_core.storage import Corrupt, Missing, verified

from .parameters import Id

LINK_LIFETIME_S = 900
"""Seconds for which a signed link is valid."""
INLINE_TYPES = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "html": "text/html; charset=utf-8",
    "json": "application/json",
}
"""Media types of files that a browser shows, in a sandbox without scripts; all others are saved."""
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"
DAMAGED_RESPONSE: dict[int | str, dict[str, Any]] = {
    500: {
        "description": "The file is damaged in the store.",
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/ProblemView"}}},
    }
}
"""Describes the response in /openapi.json."""

log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1/artifacts", tags=["artifacts"])


@router.get("/{id}")
def get_artifact(ctx: Ctx, caller: Reader, id: Id) -> ArtifactView:
    """Returns an artifact's manifest."""
    return artifact_view(artifacts.get(ctx.engine, caller.project, id))


@router.post("/{id}/pin")
def pin(ctx: Ctx, caller: Submitter, id: Id) -> ArtifactView:
    """Keeps an artifact from garbage collection, however old it is."""
    return artifact_view(artifacts.pin(ctx.engine, caller.project, id))


@router.delete("/{id}/pin")
def unpin(ctx: Ctx, caller: Submitter, id: Id) -> ArtifactView:
    """Lets garbage collection remove an artifact again."""
    return artifact_view(artifacts.pin(ctx.engine, caller.project, id, pinned=False))


@router.get(
    "/{id}/files/{path:path}",
    response_class=Response,
    responses={
        200: {
            "content": {
                media_type.partition(";")[0]: {} for media_type in ("application/octet-stream", *INLINE_TYPES.values())
            }
        },
        304: {"description": "The client has the file: its ETag is in If-None-Match."},
        307: {"description": "To a signed link."},
        **DAMAGED_RESPONSE,
    },
)
def get_file(ctx: Ctx, caller: Reader, id: Id, path: str, if_none_match: Annotated[str, Header()] = "") -> Response:
    """Returns a file of an artifact: a redirect to a signed link where the store signs, else the bytes."""
    artifact = artifacts.get(ctx.engine, caller.project, id)
    entry = next((file for file in artifact.manifest["files"] if file["path"] == path), None)
    if entry is None:
        raise not_found(f"file of the artifact {id}", path)
    etag = f'"{entry["sha256"]}"'
    if etag in (tag.strip() for tag in if_none_match.split(",")):
        return Response(status_code=304, headers={"ETag": etag})
    file_name = path.rsplit("/", 1)[-1]
    link = ctx.store.signed_url(f"{artifact.prefix}/{path}", file_name, LINK_LIFETIME_S)
    if link is not None:
        return RedirectResponse(link, 307)
    return StreamingResponse(_verified(ctx, artifact, entry), headers=_headers(entry, file_name, etag))


def read_file(ctx: ApiContext, artifact: artifacts.ArtifactRecord, path: str) -> bytes:
    """Reads a small file of an artifact.

    Raises:
        HTTPProblem: The store does not have the file, or not as the manifest says.
    """
    entry = next(file for file in artifact.manifest["files"] if file["path"] == path)
    return b"".join(_verified(ctx, artifact, entry))


def _verified(ctx: ApiContext, artifact: artifacts.ArtifactRecord, entry: FileEntry) -> Iterator[bytes]:
    """Begins to read a file, and returns its pieces, verified on the way.

    Damage in the first piece raises HTTPProblem here; later damage breaks the response off.
    """
    path = entry["path"]
    name, description = f"{artifact.prefix}/{path}", f"the file {path} of the artifact {artifact.id}"
    try:
        pieces = verified(ctx.store.stream(name), entry, name)
        first = next(pieces, b"")
    except Missing:
        raise HTTPProblem(404, f"The store no longer has {description}.") from None
    except Corrupt as error:
        log.error("%s", error)
        detail = f"The store has {description} damaged: it does not match its manifest."
        raise HTTPProblem(500, detail, type=DAMAGED_FILE) from None

    def stream() -> Iterator[bytes]:
        yield first
        try:
            yield from pieces
        except Corrupt as error:
            log.error("%s; the download was broken off", error)
            raise

    return stream()


def _headers(entry: FileEntry, file_name: str, etag: str) -> dict[str, str]:
    media_type = INLINE_TYPES.get(file_name.rsplit(".", 1)[-1].lower())
    disposition = "inline" if media_type else "attachment"
    return {
        "Content-Type": media_type or "application/octet-stream",
        "Content-Length": str(entry["size"]),
        "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(file_name, safe='')}",
        "Content-Security-Policy": SANDBOX,
        "X-Content-Type-Options": "nosniff",
        "ETag": etag,
        "Cache-Control": "private, max-age=31536000, immutable",
    }
