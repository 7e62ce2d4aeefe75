"""A job: how it stands, what it measured, what it said."""

from typing import Annotated

from fastapi import APIRouter, Query

from robxfer_api.auth import Reader
from robxfer_api.context import Ctx, Cursor, Id, Text
from robxfer_api.errors import whole
from robxfer_api.views import event_view, job_view
from robxfer_core.ledger import events, jobs
from robxfer_core.spec.wire.base import Page
from robxfer_core.spec.wire.jobs import EventView, JobView, MetricRow

router = APIRouter(prefix="/v1/jobs/{id}", tags=["jobs"])
Many = Annotated[int, Query(ge=1, le=10_000)]


@router.get("")
def job(ctx: Ctx, caller: Reader, id: Id) -> JobView:
    return job_view(jobs.job(ctx.engine, caller.project, id))


@router.get("/metrics")
def metrics(
    ctx: Ctx, caller: Reader, id: Id, name: Text = None, limit: Many = 1000, cursor: Cursor = None
) -> Page[MetricRow]:
    """What it measured, by name and step."""
    jobs.job(ctx.engine, caller.project, id)
    after = None
    if cursor is not None:
        step, _, last = cursor.partition(":")
        after = (last, whole(step, cursor))
    found = jobs.measured(ctx.engine, id, name, after, limit)
    items = [MetricRow.model_validate(each, from_attributes=True) for each in found]
    return Page(items=items, next=f"{items[-1].step}:{items[-1].name}" if len(items) == limit else None)


@router.get("/logs")
def logs(ctx: Ctx, caller: Reader, id: Id, limit: Many = 1000, cursor: Cursor = None) -> Page[EventView]:
    """What it said, oldest first."""
    jobs.job(ctx.engine, caller.project, id)
    last = whole(cursor, cursor) if cursor is not None else 0
    items = [event_view(each) for each in events.for_job(ctx.engine, id, "log", last, limit)]
    return Page(items=items, next=str(items[-1].id) if len(items) == limit else None)
