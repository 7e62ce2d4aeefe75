"""Liveness, readiness and metrics of the service."""

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
    """Says that the process answers."""
    return Health(ok=True)


@router.get("/readyz", responses={503: {"model": Health}})
def readyz(ctx: Ctx, caller: Reader) -> JSONResponse:
    """Says whether the database, the broker and the store answer; `missing` names those that do not."""
    missing = ctx.readiness.failures()
    return JSONResponse(Health(ok=not missing, missing=missing).model_dump(), 503 if missing else 200)


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(ctx: Ctx, caller: Reader) -> PlainTextResponse:
    """Returns metrics of queues, attempts and workers for Prometheus."""
    return PlainTextResponse(exposition(ctx.engine, ctx.tally), media_type=CONTENT_TYPE_PLAIN_0_0_4)
