"""Errors as RFC 9457 problem+json, which name the field, the value that was sent and the values that are allowed."""

import sqlite3
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from minio.error import S3Error
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route

from robxfer_core.ledger.engine import DATABASE_UNAVAILABLE, Conflict, NotFound
from robxfer_core.ledger.paging import BadCursor
from robxfer_core.spec.errors import SpecError, place, show
from robxfer_core.spec.wire.base import FieldError, ProblemView
from robxfer_core.storage import Unavailable

PROBLEM_JSON = "application/problem+json"
BLANK = "about:blank"
INVALID_SPEC = "urn:robxfer:problem:invalid-spec"
INVALID_REQUEST = "urn:robxfer:problem:invalid-request"
IDEMPOTENCY_KEY_REUSED = "urn:robxfer:problem:idempotency-key-reused"
DAMAGED_FILE = "urn:robxfer:problem:damaged-file"
NOT_READY = "urn:robxfer:problem:not-there-yet"
CURSOR = "the `next` of another page"
MAX_INTEGER = 2**63 - 1

log = structlog.get_logger()


class HTTPProblem(Exception):
    """An error response, to be raised in a route or a dependency.

    Args:
        status: HTTP status.
        detail: What is wrong, for people.
        type: URN that identifies the kind of problem for programs.
        title: Short text for the type; by default the status's phrase.
        headers: Headers of the response.
        errors: Which parts of the request are wrong.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        type: str = BLANK,
        title: str | None = None,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldError] = (),
    ) -> None:
        super().__init__(detail)
        title = title or HTTPStatus(status).phrase
        self.view = ProblemView(type=type, title=title, status=status, detail=detail, errors=list(errors))
        self.headers = headers


RETRY_SOON = {"Retry-After": "1"}
# The text does not say that nothing was changed: a database that dies may have committed and not answered.
NO_DATABASE = HTTPProblem(
    503, "The database does not answer; ask again, a submission with its key.", headers=RETRY_SOON
)
NO_STORE = HTTPProblem(503, "The store does not answer; ask again.", headers=RETRY_SOON)


def not_found(what: str, id: str) -> HTTPProblem:
    """Makes a 404 for a thing that the caller's project does not have."""
    return HTTPProblem(404, f"There is no {what} {show(id)}.")


def invalid_parameter(source: str, name: str, value: str | None, takes: str) -> RequestValidationError:
    """Makes a 422 for a parameter that only the route can check.

    Args:
        source: `query` or `header`.
        name: Name of the parameter.
        value: The value that was sent; None where there was none.
        takes: What the parameter takes.
    """
    kind = "missing" if value is None else "value_error"
    return RequestValidationError([{"type": kind, "loc": (source, name), "msg": takes, "input": value}])


def cursor_integer(text: str, cursor: str) -> int:
    """Reads an integer from a cursor.

    Args:
        text: The part of the cursor that holds the integer.
        cursor: The whole cursor, for the message.

    Raises:
        RequestValidationError: The text is not an integer that a database can hold.
    """
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and abs(int(text)) <= MAX_INTEGER):
        raise invalid_parameter("query", "cursor", cursor, CURSOR)
    return int(text)


def problem_response(problem: HTTPProblem) -> JSONResponse:
    """Renders a problem as application/problem+json."""
    body = problem.view.model_dump(exclude={"errors"} if not problem.view.errors else None)
    return JSONResponse(body, problem.view.status, problem.headers, media_type=PROBLEM_JSON)


def add_error_handlers(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Makes an app answer every error with a problem.

    Args:
        app: The app.
        routes: All its routes, from which a 405 takes the allowed methods.
    """

    def handle_http(request: Request, error: Exception) -> JSONResponse:
        return _http_error(request, error, routes)

    app.add_exception_handler(HTTPProblem, lambda request, error: _http_problem(error))
    app.add_exception_handler(SpecError, lambda request, error: _spec_error(error))
    app.add_exception_handler(NotFound, lambda request, error: problem_response(HTTPProblem(404, str(error))))
    app.add_exception_handler(Conflict, lambda request, error: _conflict(error))
    app.add_exception_handler(BadCursor, _bad_cursor)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, handle_http)
    for away in DATABASE_UNAVAILABLE:
        app.add_exception_handler(away, lambda request, error: _database_error(error))
    app.add_exception_handler(Unavailable, lambda request, error: _store_error(error))
    app.add_exception_handler(S3Error, lambda request, error: _s3_error(error))
    app.add_exception_handler(Exception, lambda request, error: _internal_error())


def _http_problem(error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPProblem)
    return problem_response(error)


def _conflict(error: Exception) -> JSONResponse:
    return problem_response(HTTPProblem(409, str(error), type=IDEMPOTENCY_KEY_REUSED))


def _bad_cursor(request: Request, error: Exception) -> JSONResponse:
    cursor = request.query_params.get("cursor")
    return _validation_error(request, invalid_parameter("query", "cursor", cursor, CURSOR))


def _spec_error(error: Exception) -> JSONResponse:
    assert isinstance(error, SpecError)
    fields = [FieldError(**problem.as_dict()) for problem in error.problems]
    title, detail = "The spec cannot be taken", str(error.problems[0])
    return problem_response(HTTPProblem(422, detail, type=INVALID_SPEC, title=title, errors=fields))


def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if all(item["loc"][0] == "path" for item in error.errors()):
        return problem_response(HTTPProblem(404, f"There is nothing at {request.url.path}."))
    fields = [_field_error(item) for item in error.errors()]
    title, detail = "The request cannot be taken", f"{fields[0].at}: got {fields[0].got}; takes {fields[0].takes}"
    return problem_response(HTTPProblem(422, detail, type=INVALID_REQUEST, title=title, errors=fields))


def _field_error(error: Mapping[str, Any]) -> FieldError:
    message = str(error["msg"]).removeprefix("Value error, ")
    return FieldError(
        at=place(list(error["loc"])),
        got="nothing" if error["type"] == "missing" else show(error.get("input")),
        takes=message.removeprefix("Input should be "),
    )


def _http_error(request: Request, error: Exception, routes: Sequence[BaseRoute]) -> JSONResponse:
    """Handles errors of the framework: no route, a method that no route has, a body that cannot be read."""
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    detail = error.detail if error.detail != phrase else f"{request.method} {request.url.path}"
    headers = error.headers
    if error.status_code == 405:  # the framework's header has the methods of the first route with this path only
        matching = [route for route in routes if isinstance(route, Route) and route.path_regex.match(request.url.path)]
        headers = {"Allow": ", ".join(sorted({method for route in matching for method in route.methods or ()}))}
    return problem_response(HTTPProblem(error.status_code, detail, headers=headers))


def _database_error(error: Exception) -> JSONResponse:
    if isinstance(error, OperationalError) and isinstance(error.orig, sqlite3.Error) and "locked" not in str(error):
        raise error  # SQLite is always there, so this is a fault of the service
    log.warning("the database does not answer", error=str(error).splitlines()[0])
    return problem_response(NO_DATABASE)


def _store_error(error: Exception) -> JSONResponse:
    log.warning("the store does not answer", error=str(error))
    return problem_response(NO_STORE)


def _s3_error(error: Exception) -> JSONResponse:
    """Handles a refusal of the store, such as wrong keys or no bucket, which the caller cannot mend."""
    assert isinstance(error, S3Error)
    log.error("the store refuses", error=str(error))
    detail = f"The store cannot be used ({error.code}); ask again."
    return problem_response(HTTPProblem(503, detail, headers=RETRY_SOON))


def _internal_error() -> JSONResponse:
    # The traceback goes to the log; the response says nothing of what is inside.
    return problem_response(HTTPProblem(500, "The server's log says more."))
