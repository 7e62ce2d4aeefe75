"""The web page: static files, whose scripts fetch everything that they show from the API."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from robxfer_api.context import ApiContext, Ctx

PAGES = Path(__file__).parent.parent / "pages"
router = APIRouter(include_in_schema=False)


@router.get("/")
async def index(ctx: Ctx) -> FileResponse:
    """The list of experiments."""
    return _page(ctx, "index.html")


@router.get("/experiments/{id}")
async def experiment(ctx: Ctx, id: str) -> FileResponse:
    """One experiment."""
    return _page(ctx, "experiment.html")


def _page(ctx: ApiContext, name: str) -> FileResponse:
    # Images may come by redirect from the S3 service; everything else comes from this service.
    settings = ctx.settings
    images = f" {settings.s3_public_endpoint}" if settings.store_url.startswith("s3:") else ""
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        f"img-src 'self'{images}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return FileResponse(PAGES / name, headers=headers)
