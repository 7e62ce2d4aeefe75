"""Kinds of jobs."""

import inspect
from functools import cache

from fastapi import APIRouter
from pydantic import BaseModel

from robxfer_api.auth import Reader
from robxfer_core.jobs.base import Job
from robxfer_core.jobs.registry import KINDS, accepted_kinds
from robxfer_core.spec.describe import parameters, parts, result_fields
from robxfer_core.spec.wire.base import Page
from robxfer_core.spec.wire.jobs import KindView, ParameterView, ResultFieldView, ResultView

router = APIRouter(prefix="/v1/job-kinds", tags=["job kinds"])


@router.get("")
def list_job_kinds(caller: Reader) -> Page[KindView]:
    """Lists every kind of job with its parameters and its result."""
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
        results=[_result(result) for result in model.RESULTS],
        result_parts={name: _result_fields(part) for result in model.RESULTS for name, part in parts(result).items()},
    )


def _result(model: type[BaseModel]) -> ResultView:
    return ResultView(
        name=model.__name__,
        meaning=inspect.getdoc(model) or "",
        fields=_result_fields(model),
        json_schema=model.model_json_schema(mode="serialization"),
    )


def _parameters(model: type[BaseModel]) -> list[ParameterView]:
    return [ParameterView(**vars(parameter)) for parameter in parameters(model)]


def _result_fields(model: type[BaseModel]) -> list[ResultFieldView]:
    return [ResultFieldView(**vars(field)) for field in result_fields(model)]
