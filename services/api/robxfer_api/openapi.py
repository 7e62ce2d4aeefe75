"""The API's description of itself, completed: what every route may answer beside what it is for.

FastAPI knows of its own refusals alone, and not their form; the problems of the middleware, of dependencies and of the
ledger are told here, by what a route takes, so that no route needs to repeat them.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from robxfer_core.spec.wire.base import ProblemView

PROBLEM = "application/problem+json"
REF = "#/components/schemas/{model}"
OPEN = "/healthz"  # the one path that asks for no token
TEXT, SECONDS = {"schema": {"type": "string"}}, {"schema": {"type": "integer"}}
PROBLEMS: dict[int, dict[str, Any]] = {
    401: {"description": "No token that holds.", "headers": {"WWW-Authenticate": TEXT}},
    403: {"description": "The token's scope does not allow it."},
    404: {"description": "There is no such thing in the token's project."},
    409: {"description": "It contradicts what is stored."},
    413: {"description": "The body is larger than what is taken."},
    415: {"description": "The body is of a media type that is not taken."},
    421: {"description": "The header Host names another service."},
    422: {"description": "Something of the request cannot be taken; `errors` names each part."},
    429: {"description": "Too many requests.", "headers": {"Retry-After": SECONDS}},
    503: {"description": "The database or the store does not answer.", "headers": {"Retry-After": SECONDS}},
}


def complete_openapi(app: FastAPI) -> None:
    """Has the app describe itself completely, once all its routes are in."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(plain())
        return app.openapi_schema

    app.openapi = openapi  # FastAPI's own way to extend it


def _completed(schema: dict[str, Any]) -> dict[str, Any]:
    parts = schema["components"]
    for unused in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(unused, None)
    problem = ProblemView.model_json_schema(ref_template=REF)
    parts["schemas"] |= problem.pop("$defs") | {"ProblemView": problem}
    parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            _complete(path, method, operation)
    return schema


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    answers.pop("422", None)  # FastAPI's, of a form that is not ours
    for status in _possible(path, method, operation):
        told = answers.setdefault(str(status), dict(PROBLEMS[status]))
        told["content"] = told.get("content", {}) | {PROBLEM: {"schema": _ref("ProblemView")}}
    if path != OPEN:
        operation["security"] = [{"token": []}]


def _possible(path: str, method: str, operation: dict[str, Any]) -> Iterator[int]:
    """The problems that a route may answer, by what it takes."""
    taken = operation.get("parameters", [])
    body = "requestBody" in operation
    if path != OPEN:
        yield from (401, 403, 421, 429, 503)
    if any(each["in"] == "path" for each in taken):
        yield 404
    if method != "get":
        yield 409
    if body:
        yield from (413, 415)
    if body or any(each["in"] != "path" for each in taken):
        yield 422


def _ref(model: str) -> dict[str, str]:
    return {"$ref": REF.format(model=model)}
