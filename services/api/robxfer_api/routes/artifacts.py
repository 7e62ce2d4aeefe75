"""Artifacts: the manifest, and each file by a signed link or streamed."""

import logging
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from robxfer_api.auth import Reader, Submitter
from robxfer_api.context import Context, Ctx, Id
from robxfer_api.errors import DAMAGED, Refused, not_found
from robxfer_api.openapi import PROBLEM
from robxfer_api.views import artifact_view
from robxfer_core.ledger import artifacts
from robxfer_core.spec.records import FileEntry
from robxfer_core.spec.wire.artifacts import ArtifactView
from robxfer_core.storage import Corrupt, Missing, verified

SIGNED_S = 900  # seconds that a signed link holds
# Shown in the browser, where they are held in a sandbox without scripts; all other files are saved.
SHOWN = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "html": "text/html; charset=utf-8",
    "json": "application/json",
}
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"
DAMAGE: dict[int | str, dict[str, Any]] = {
    500: {
        "description": "The store has the file damaged.",
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/ProblemView"}}},
    }
}

log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1/artifacts", tags=["artifacts"])


@router.get("/{id}")
def artifact(ctx: Ctx, caller: Reader, id: Id) -> ArtifactView:
    return artifact_view(artifacts.get(ctx.engine, caller.project, id))


@router.post("/{id}/pin")
def pin(ctx: Ctx, caller: Submitter, id: Id) -> ArtifactView:
    """Keeps it from being collected, however old it is and whoever names it."""
    return artifact_view(artifacts.pin(ctx.engine, caller.project, id))


@router.delete("/{id}/pin")
def unpin(ctx: Ctx, caller: Submitter, id: Id) -> ArtifactView:
    """Keeps it no longer."""
    return artifact_view(artifacts.pin(ctx.engine, caller.project, id, pinned=False))


@router.get(
    "/{id}/files/{path:path}",
    response_class=Response,
    responses={
        200: {"content": {media.partition(";")[0]: {} for media in ("application/octet-stream", *SHOWN.values())}},
        304: {"description": "The client has it: its ETag is in If-None-Match."},
        307: {"description": "To a signed link."},
        **DAMAGE,
    },
)
def file(ctx: Ctx, caller: Reader, id: Id, path: str, if_none_match: Annotated[str, Header()] = "") -> Response:
    """A file of the artifact's manifest."""
    found = artifacts.get(ctx.engine, caller.project, id)
    entry = next((each for each in found.manifest["files"] if each["path"] == path), None)
    if entry is None:
        raise not_found(f"file of the artifact {id}", path)
    etag = f'"{entry["sha256"]}"'
    if etag in (each.strip() for each in if_none_match.split(",")):
        return Response(status_code=304, headers={"ETag": etag})
    name, base = f"{found.prefix}/{path}", path.rsplit("/", 1)[-1]
    signed = ctx.store.signed_url(name, base, SIGNED_S)
    if signed is not None:
        return RedirectResponse(signed, 307)
    return StreamingResponse(
        _begun(ctx, name, entry, f"the file {path} of the artifact {id}"), headers=_headers(entry, base, etag)
    )


def read_whole(ctx: Context, found: artifacts.Artifact, path: str) -> bytes:
    """A small file of an artifact. Raises Refused where it is not there or not as its manifest says."""
    entry = next(each for each in found.manifest["files"] if each["path"] == path)
    return b"".join(_begun(ctx, f"{found.prefix}/{path}", entry, f"the file {path} of the artifact {found.id}"))


def _begun(ctx: Context, name: str, entry: FileEntry, called: str) -> Iterator[bytes]:
    """A file's pieces, verified as they come. What is wrong with the first is Refused; later, the answer breaks off."""
    try:
        pieces = verified(ctx.store.stream(name), entry, name)
        first = next(pieces, b"")
    except Missing:
        raise Refused(404, f"The store has no longer {called}.") from None
    except Corrupt as error:
        log.error("%s", error)
        raise Refused(500, f"The store has {called} damaged: it is not what its manifest says.", type=DAMAGED) from None

    def rest() -> Iterator[bytes]:
        yield first
        try:
            yield from pieces
        except Corrupt as error:
            log.error("%s; the download was broken off", error)
            raise

    return rest()


def _headers(entry: FileEntry, base: str, etag: str) -> dict[str, str]:
    media = SHOWN.get(base.rsplit(".", 1)[-1].lower())
    return {
        "Content-Type": media or "application/octet-stream",
        "Content-Length": str(entry["size"]),
        "Content-Disposition": f"{'inline' if media else 'attachment'}; filename*=UTF-8''{quote(base, safe='')}",
        "Content-Security-Policy": SANDBOX,
        "X-Content-Type-Options": "nosniff",
        "ETag": etag,
        "Cache-Control": "private, max-age=31536000, immutable",
    }
