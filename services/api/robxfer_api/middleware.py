"""ASGI middleware that every request passes before a route is looked for, so that no route can be left out."""

import math
import re
import time
import uuid

import structlog
from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from robxfer_core.ledger import audit
from robxfer_core.ledger.engine import DATABASE_UNAVAILABLE
from robxfer_core.planning.experiment import MAX_BYTES
from robxfer_core.settings import Settings, is_loopback

from .audit import ResponseRecord, action_name, client_address, printable, record_response, subject_id
from .auth import Caller, authenticate, rate_limit_key
from .context import ApiContext
from .errors import NO_DATABASE, HTTPProblem, problem_response
from .rate_limit import RateLimiter

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
NO_TOKEN_NEEDED = ("GET", "/healthz")
UPLOAD_ROUTES = frozenset({("POST", "/v1/datasets"), ("POST", "/v1/models")})
"""Method and path of the routes whose bodies may be as large as `max_upload_gb`."""
UNAUTHENTICATED = "This takes a valid token, as `Authorization: Bearer TOKEN`."
# Two headers and not one with both challenges: some browsers read the first challenge of a header only.
CHALLENGES = Headers(
    raw=[(b"www-authenticate", b'Basic realm="robxfer", charset="UTF-8"'), (b"www-authenticate", b"Bearer")]
)
SUBJECT_FIELDS = {"exp": "experiment", "job": "job", "art": "artifact", "upl": "upload", "tok": "token"}
"""Field of the request log for an id, by the id's prefix."""
_HOST = re.compile(r"\[?([^\[\]:]+|[0-9a-f:]+)\]?(:[0-9]+)?", re.IGNORECASE)
_REQUEST_ID = re.compile(r"(?!.*rbx_)[A-Za-z0-9._-]{1,64}")

log = structlog.get_logger()


class RequestLogMiddleware:
    """Logs a line for each request once it is answered, and puts its id on every line that is logged meanwhile."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, started = Request(scope), time.perf_counter()
        sent_id = request.headers.get("x-request-id", "")
        request_id = sent_id if _REQUEST_ID.fullmatch(sent_id) else uuid.uuid4().hex
        send, response = record_response(send, request_id)
        with structlog.contextvars.bound_contextvars(request=request_id):
            try:
                await self._app(scope, receive, send)
            finally:
                _log_request(request, response, time.perf_counter() - started)


def _log_request(request: Request, response: ResponseRecord, seconds: float) -> None:
    caller: Caller | None = getattr(request.state, "caller", None)
    subject = response.created_id or subject_id(request.url.path)
    log.info(
        "request",
        method=printable(request.method),
        path=printable(request.url.path),
        route=getattr(request.scope.get("route"), "path", None),
        status=response.status,
        ms=round(1000 * seconds, 1),
        caller=caller and caller.name,
        project=caller and caller.project,
        address=client_address(request),
        **({SUBJECT_FIELDS.get(subject[:3], "subject"): subject} if subject else {}),
    )


class AuthMiddleware:
    """Authenticates the caller, limits the rate, refuses foreign pages, and audits each request for a change.

    The audit line is written before anything is changed and completed with the response's status.
    """

    def __init__(self, app: ASGIApp, context: ApiContext) -> None:
        self._app = app
        self._settings, self._engine = context.settings, context.engine
        self._requests = RateLimiter(context.settings.rate_per_minute)
        self._failures = RateLimiter(context.settings.failures_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] != "http" or (scope["method"], scope["path"]) == NO_TOKEN_NEEDED:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            header = request.headers.get("authorization", "")
            caller = await run_in_threadpool(authenticate, self._settings, self._engine, header)
            request.state.caller = caller
            self._limit_rate(request, caller)
            changes = request.method not in SAFE_METHODS
            line = await run_in_threadpool(self._begin_audit, request, caller) if changes else None
        except HTTPProblem as problem:
            await problem_response(problem)(scope, receive, send)
            return
        except DATABASE_UNAVAILABLE as error:
            log.warning("the database does not answer", error=str(error).splitlines()[0])
            await problem_response(NO_DATABASE)(scope, receive, send)
            return
        send, response = record_response(send)
        try:
            refusal = self._refusal(request, caller)
            await (problem_response(refusal) if refusal else self._app)(scope, receive, send)
        finally:
            if line is not None:
                await run_in_threadpool(self._end_audit, line, response)

    def _limit_rate(self, request: Request, caller: Caller | None) -> None:
        """Counts the request.

        Raises:
            HTTPProblem: 429, the caller has sent too many, or callers without a valid token at this address have.
        """
        # A browser's first request has no password, so a GET without one is no failure; one with a bad token is.
        failed = caller is None and ("authorization" in request.headers or request.method not in SAFE_METHODS)
        key = rate_limit_key(caller, client_address(request))
        wait = (self._failures if failed else self._requests).take(key)
        if wait:
            seconds = math.ceil(wait)
            detail = f"Too many requests; ask again in {seconds} s."
            raise HTTPProblem(429, detail, headers={"Retry-After": str(seconds)})

    def _refusal(self, request: Request, caller: Caller | None) -> HTTPProblem | None:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if caller is None:
            return HTTPProblem(401, UNAUTHENTICATED, headers=CHALLENGES)
        if self._settings.access == "open" and not _is_local(host):
            # DNS rebinding: a page whose name resolves to this machine could otherwise read and write.
            return HTTPProblem(421, f"The header Host is {host!r}; takes localhost or a loopback address.")
        changes = request.method not in SAFE_METHODS
        if changes and _is_cross_site(host, origin, request.headers.get("sec-fetch-site")):
            sender = origin or "cross-site"
            return HTTPProblem(403, f"A page of another site asks ({sender}); takes the header Host's own.")
        return None

    def _begin_audit(self, request: Request, caller: Caller | None) -> int:
        path = request.url.path
        return audit.begin(
            self._engine,
            audit.Actor(
                (caller.name or "anyone") if caller else "unknown",
                project_id=caller and caller.project,
                token_id=caller and caller.token_id,
                address=client_address(request),
            ),
            action_name(request.method, path),
            subject_id(path),
        )

    def _end_audit(self, line: int, response: ResponseRecord) -> None:
        try:
            audit.end(self._engine, line, response.status, response.created_id)
        except SQLAlchemyError:
            log.exception("a line of the audit log stays without a status", line=line, status=response.status)


def _is_local(host: str) -> bool:
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match[1].lower())


def _is_cross_site(host: str, origin: str | None, fetch_site: str | None) -> bool:
    """Whether a browser sends the request for a page of another site, to which it adds the password by itself."""
    if origin is not None:
        return origin.partition("://")[2].lower() != host.lower()
    return fetch_site not in (None, "none", "same-origin")


class BodyLimitMiddleware:
    """Refuses a body that is too large: by its Content-Length, or else once more bytes have arrived."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._max_upload = int(settings.max_upload_gb * 1e9)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._max_upload if (scope["method"], scope["path"]) in UPLOAD_ROUTES else MAX_BYTES
        detail = f"The body has more than {limit} bytes; this takes at most that."
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            await problem_response(HTTPProblem(413, detail))(scope, receive, send)
            return
        received = 0

        async def counting_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, detail)
            return message

        await self._app(scope, counting_receive, send)
