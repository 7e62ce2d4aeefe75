"""Jobs, and what they measured and logged."""

from typing import Annotated

from fastapi import APIRouter, Query

from robxfer_api.auth import Reader
from robxfer_api.context import Ctx
from robxfer_api.errors import cursor_integer
from robxfer_api.views import event_view, job_view
from robxfer_core.ledger import events, jobs
from robxfer_core.spec.wire.base import Page
from robxfer_core.spec.wire.jobs import EventView, JobView, MetricRow
from robxfer_core.spec.wire.queries import MetricQuery, RowsQuery

from .parameters import Id

router = APIRouter(prefix="/v1/jobs/{id}", tags=["jobs"])


@router.get("")
def get_job(ctx: Ctx, caller: Reader, id: Id) -> JobView:
    """Returns a job with its inputs, its attempts and what it waits for."""
    return job_view(jobs.get(ctx.engine, caller.project, id))


@router.get("/metrics")
def list_metrics(ctx: Ctx, caller: Reader, id: Id, query: Annotated[MetricQuery, Query()]) -> Page[MetricRow]:
    """Lists what the job measured, by step and name."""
    jobs.get(ctx.engine, caller.project, id)
    after = None
    if query.cursor is not None:
        step, _, name = query.cursor.partition(":")
        after = (name, cursor_integer(step, query.cursor))
    rows = jobs.list_metrics(ctx.engine, id, query.name, after, query.limit)
    items = [MetricRow.model_validate(row, from_attributes=True) for row in rows]
    return Page(items=items, next=f"{items[-1].step}:{items[-1].name}" if len(items) == query.limit else None)


@router.get("/logs")
def list_logs(ctx: Ctx, caller: Reader, id: Id, query: Annotated[RowsQuery, Query()]) -> Page[EventView]:
    """Lists what the job logged, oldest first."""
    jobs.get(ctx.engine, caller.project, id)
    last_id = cursor_integer(query.cursor, query.cursor) if query.cursor is not None else 0
    items = [event_view(event) for event in events.for_job(ctx.engine, id, "log", last_id, query.limit)]
    return Page(items=items, next=str(items[-1].id) if len(items) == query.limit else None)
