"""Artifacts: the manifest, and each file by a signed link or streamed."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from robxfer_api.access import Reader, Submitter
from robxfer_api.answers import artifact_view
from robxfer_api.context import Ctx, Id
from robxfer_api.problems import Refused, not_found
from robxfer_core.artifacts import Missing
from robxfer_core.ledger import artifacts
from robxfer_core.spec.wire import ArtifactView

SIGNED_S = 900  # seconds that a signed link holds
# Shown in the browser, where they are held in a sandbox without scripts; all other files are saved.
SHOWN = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "html": "text/html; charset=utf-8",
    "json": "application/json",
}
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"

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
    signed = ctx.store.sign(name, base, SIGNED_S)
    if signed is not None:
        return RedirectResponse(signed, 307)
    try:
        pieces = ctx.store.stream(name)
    except Missing:
        raise Refused(404, f"The store has no longer the file {path} of the artifact {id}.") from None
    return StreamingResponse(pieces, headers=_headers(entry, base, etag))


def _headers(entry: dict[str, Any], base: str, etag: str) -> dict[str, str]:
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
