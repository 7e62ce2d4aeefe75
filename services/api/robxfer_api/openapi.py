"""Completes /openapi.json: which problems each route may answer, and which routes take a token.

FastAPI describes only its own validation error, and not in our form. Which problems the middleware, the dependencies
and the ledger may raise follows from what a route takes, so no route repeats them.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from robxfer_core.spec.wire.base import ProblemView

from .errors import PROBLEM_JSON

REF = "#/components/schemas/{model}"
PUBLIC_PATH = "/healthz"
"""The path that takes no token."""
TEXT, SECONDS = {"schema": {"type": "string"}}, {"schema": {"type": "integer"}}
PROBLEMS: dict[int, dict[str, Any]] = {
    401: {"description": "There is no valid token.", "headers": {"WWW-Authenticate": TEXT}},
    403: {"description": "The token's scope is too small, or a page of another site asks."},
    404: {"description": "The token's project has no such thing."},
    409: {"description": "The request contradicts what is stored."},
    413: {"description": "The body is too large."},
    415: {"description": "The body has a media type that is not taken."},
    421: {"description": "The header Host names another service."},
    422: {"description": "Something in the request is wrong; `errors` names each part."},
    429: {"description": "Too many requests.", "headers": {"Retry-After": SECONDS}},
    503: {"description": "The database or the store does not answer.", "headers": {"Retry-After": SECONDS}},
}


def complete_openapi(app: FastAPI) -> None:
    """Makes an app describe itself completely; to be called once it has all its routes."""
    incomplete = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(incomplete())
        return app.openapi_schema

    app.openapi = openapi  # how FastAPI documents that a schema is extended


def _complete(schema: dict[str, Any]) -> dict[str, Any]:
    components = schema["components"]
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    problem = ProblemView.model_json_schema(ref_template=REF)
    components["schemas"] |= problem.pop("$defs") | {"ProblemView": problem}
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            _complete_operation(path, method, operation)
    return schema


def _complete_operation(path: str, method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)  # FastAPI's form
    for status in _possible_problems(path, method, operation):
        response = responses.setdefault(str(status), dict(PROBLEMS[status]))
        schema = {"schema": {"$ref": REF.format(model="ProblemView")}}
        response["content"] = response.get("content", {}) | {PROBLEM_JSON: schema}
    if path != PUBLIC_PATH:
        operation["security"] = [{"token": []}]


def _possible_problems(path: str, method: str, operation: dict[str, Any]) -> Iterator[int]:
    parameters = operation.get("parameters", [])
    has_body = "requestBody" in operation
    if path != PUBLIC_PATH:
        yield from (401, 403, 421, 429, 503)
    if any(parameter["in"] == "path" for parameter in parameters):
        yield 404
    if method != "get":
        yield 409
    if has_body:
        yield from (413, 415)
    if has_body or any(parameter["in"] != "path" for parameter in parameters):
        yield 422
