"""Every error as RFC 9457 problem+json that names the field, what it got and what it takes."""

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

from robxfer_core.ledger.engine import AWAY, Conflict, Unknown
from robxfer_core.ledger.paging import BadCursor
from robxfer_core.spec.errors import SpecError, place, show
from robxfer_core.spec.wire.base import FieldError, ProblemView
from robxfer_core.storage import Unavailable

INVALID_SPEC = "urn:robxfer:problem:invalid-spec"
INVALID_REQUEST = "urn:robxfer:problem:invalid-request"
OTHER_BODY = "urn:robxfer:problem:idempotency-key-reused"
DAMAGED = "urn:robxfer:problem:damaged-file"
NOT_YET = "urn:robxfer:problem:not-there-yet"
CURSOR = "the `next` of another page"
LARGEST = 2**63 - 1

log = structlog.get_logger()


class Refused(Exception):
    """A request that is answered by a problem."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        type: str = "about:blank",
        title: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.headers = headers
        problem = _plain(status, detail, type)
        self.problem = problem.model_copy(update={"title": title}) if title else problem


def not_found(what: str, id: str) -> Refused:
    return Refused(404, f"There is no {what} {show(id)}.")


def answer(problem: ProblemView, headers: Mapping[str, str] | None = None) -> JSONResponse:
    body = problem.model_dump(exclude={"errors"} if not problem.errors else None)
    return JSONResponse(body, problem.status, headers, media_type="application/problem+json")


def handle_problems(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Answers everything that can go wrong in the app of these routes."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(SpecError, _spec)
    app.add_exception_handler(Unknown, lambda request, error: answer(_plain(404, str(error))))
    app.add_exception_handler(Conflict, lambda request, error: answer(_plain(409, str(error), OTHER_BODY)))
    app.add_exception_handler(BadCursor, _bad_cursor)
    app.add_exception_handler(RequestValidationError, _request)
    app.add_exception_handler(HTTPException, lambda request, error: _http(request, error, routes))
    for away in AWAY:
        app.add_exception_handler(away, _database)
    app.add_exception_handler(Unavailable, _store)
    app.add_exception_handler(S3Error, _store_refuses)
    app.add_exception_handler(Exception, _unforeseen)


def _plain(status: int, detail: str, type: str = "about:blank") -> ProblemView:
    return ProblemView(type=type, title=HTTPStatus(status).phrase, status=status, detail=detail)


SOON = {"Retry-After": "1"}
# Not that nothing was changed: a database that dies may have done what it was asked, and only not said so.
NO_DATABASE = Refused(503, "The database does not answer; ask again, a submission with its key.", headers=SOON)
NO_STORE = Refused(503, "The store does not answer; ask again.", headers=SOON)


def wrong_query(field: str, got: str | None, takes: str) -> RequestValidationError:
    """For a query parameter that only the route can judge."""
    kind = "missing" if got is None else "value_error"
    return RequestValidationError([{"type": kind, "loc": ("query", field), "msg": takes, "input": got}])


def whole(text: str, cursor: str) -> int:
    """The whole number in a cursor, or in a part of it."""
    number = text.removeprefix("-")
    if not (number.isascii() and number.isdigit() and len(number) < 20 and abs(int(text)) <= LARGEST):
        raise wrong_query("cursor", cursor, CURSOR)
    return int(text)


def wrong_header(field: str, got: str, takes: str) -> RequestValidationError:
    """For a header that only the route can judge."""
    return RequestValidationError([{"type": "value_error", "loc": ("header", field), "msg": takes, "input": got}])


def _bad_cursor(request: Request, error: Exception) -> JSONResponse:
    return _request(request, wrong_query("cursor", request.query_params.get("cursor"), CURSOR))


def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return answer(error.problem, error.headers)


def _database(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, OperationalError) and isinstance(error.orig, sqlite3.Error) and "locked" not in str(error):
        raise error  # a file is always there: what else is wrong is a mistake of ours
    log.warning("the database does not answer", error=str(error).splitlines()[0])
    return answer(NO_DATABASE.problem, NO_DATABASE.headers)


def _store(request: Request, error: Exception) -> JSONResponse:
    log.warning("the store does not answer", error=str(error))
    return answer(NO_STORE.problem, NO_STORE.headers)


def _store_refuses(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, S3Error)  # of keys or a bucket that are not right: nothing that who asks could mend
    log.error("the store refuses", error=str(error))
    return answer(_plain(503, f"The store cannot be used ({error.code}); ask again."), SOON)


def _spec(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SpecError)
    errors = [FieldError(**problem.as_dict()) for problem in error.problems]
    return answer(
        ProblemView(
            type=INVALID_SPEC,
            title="The spec cannot be taken",
            status=422,
            detail=str(error.problems[0]),
            errors=errors,
        )
    )


def _request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if all(each["loc"][0] == "path" for each in error.errors()):
        return answer(_plain(404, f"There is nothing at {request.url.path}."))
    errors = [_field(each) for each in error.errors()]
    detail = f"{errors[0].at}: got {errors[0].got}; takes {errors[0].takes}" if errors else ""
    return answer(
        ProblemView(type=INVALID_REQUEST, title="The request cannot be taken", status=422, detail=detail, errors=errors)
    )


def _field(error: Mapping[str, Any]) -> FieldError:
    message = str(error["msg"])
    return FieldError(
        at=place(list(error["loc"])),
        got="nothing" if error["type"] == "missing" else show(error.get("input")),
        takes=message.removeprefix("Input should be "),
    )


def _http(request: Request, error: Exception, routes: Sequence[BaseRoute]) -> JSONResponse:
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    detail = error.detail if error.detail != title else f"{request.method} {request.url.path}"
    headers = error.headers
    if error.status_code == 405:  # the router's own names the methods of the first route that has the path
        here = [each for each in routes if isinstance(each, Route) and each.path_regex.match(request.url.path)]
        headers = {"Allow": ", ".join(sorted({method for each in here for method in each.methods or ()}))}
    return answer(ProblemView(title=title, status=error.status_code, detail=detail), headers)


def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    # The traceback goes to the server's log; the answer tells nothing of what is inside.
    return answer(ProblemView(title="Internal Server Error", status=500, detail="The server's log says more."))
