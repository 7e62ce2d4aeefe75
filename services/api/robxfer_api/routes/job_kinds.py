"""What there is: models, data sets, workers, kinds of job."""

import inspect
from functools import cache

from fastapi import APIRouter
from pydantic import BaseModel

from robxfer_api.auth import Reader
from robxfer_api.context import Ctx, Cursor, Limit
from robxfer_api.views import artifact_page
from robxfer_core.jobs.base import Job
from robxfer_core.jobs.registry import KINDS, accepted_kinds
from robxfer_core.ledger import workers
from robxfer_core.spec.describe import parameters, parts
from robxfer_core.spec.wire.artifacts import ArtifactView, DatasetsView
from robxfer_core.spec.wire.base import Page
from robxfer_core.spec.wire.jobs import KindView, ParameterView
from robxfer_core.spec.wire.operating import WorkerView

router = APIRouter(prefix="/v1", tags=["lists"])


@router.get("/models")
def models(ctx: Ctx, caller: Reader, limit: Limit = 50, cursor: Cursor = None) -> Page[ArtifactView]:
    """Models that jobs have left, newest first."""
    return artifact_page(ctx.engine, caller.project, "model", limit, cursor)


@router.get("/datasets")
def datasets(ctx: Ctx, caller: Reader, limit: Limit = 50, cursor: Cursor = None) -> DatasetsView:
    """The names that workers can read, and the data sets that jobs have left, newest first."""
    found = artifact_page(ctx.engine, caller.project, "dataset", limit, cursor)
    return DatasetsView(readable=workers.known_datasets(ctx.engine), artifacts=found)


@router.get("/workers")
def live_workers(ctx: Ctx, caller: Reader) -> Page[WorkerView]:
    """The workers that are there."""
    items = [
        WorkerView(
            id=worker.id,
            queues=worker.queues,
            slots=worker.slots,
            device=worker.device,
            datasets=sorted(worker.datasets),
            state=worker.state,
            seen_at=worker.seen_at,
        )
        for worker in workers.live(ctx.engine)
    ]
    return Page(items=items)


@router.get("/job-kinds")
def job_kinds(caller: Reader) -> Page[KindView]:
    """Every kind of job with its parameters."""
    return Page(items=_kinds())


@cache
def _kinds() -> list[KindView]:
    return [_kind(name, model) for name, model in KINDS.items()]


def _kind(name: str, model: type[Job]) -> KindView:
    return KindView(
        kind=name,
        meaning=inspect.getdoc(model) or "",
        recipe=model.RECIPE,
        artifact=model.ARTIFACT,
        takes={field: accepted_kinds(model, field) for field in model.TAKES},
        parameters=_parameters(model),
        parts={name: _parameters(part) for name, part in parts(model).items()},
        json_schema=model.model_json_schema(),
    )


def _parameters(model: type[BaseModel]) -> list[ParameterView]:
    return [ParameterView(**vars(each)) for each in parameters(model)]
