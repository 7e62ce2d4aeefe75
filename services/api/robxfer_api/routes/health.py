"""Whether the service lives and can work, and its figures for Prometheus."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from robxfer_api.auth import Reader
from robxfer_api.context import Ctx
from robxfer_api.metrics import exposition
from robxfer_core.spec.wire.base import Health

router = APIRouter(tags=["service"])


@router.get("/healthz")
async def healthz() -> Health:
    """Whether the process answers."""
    return Health(ok=True)


@router.get("/readyz", responses={503: {"model": Health}})
def readyz(ctx: Ctx, caller: Reader) -> JSONResponse:
    """Whether what the service needs is there; `missing` names what is not."""
    lacking = ctx.needs.missing(ctx)
    return JSONResponse(Health(ok=not lacking, missing=lacking).model_dump(), 503 if lacking else 200)


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(ctx: Ctx, caller: Reader) -> PlainTextResponse:
    """Queues, jobs, attempts and workers, as Prometheus reads them."""
    return PlainTextResponse(exposition(ctx.engine, ctx.tally), media_type=CONTENT_TYPE_PLAIN_0_0_4)
