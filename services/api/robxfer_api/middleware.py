"""The gate: every request passes it before a route is looked for, so that no route can be forgotten."""

import math
import re

import structlog
from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from robxfer_core.ledger import audit
from robxfer_core.ledger.engine import AWAY
from robxfer_core.settings import is_loopback

from .audit import action_of, address_of, subject_of, watched
from .auth import Caller, caller_of, key_of
from .context import Context
from .errors import NO_DATABASE, Refused, answer
from .rate_limit import Rate

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
UNKNOWN = "This takes a token that is known, has not expired and is not revoked, as `Authorization: Bearer TOKEN`."
# Two headers, not one with both: there are browsers that read the first challenge of each alone.
CHALLENGES = Headers(
    raw=[(b"www-authenticate", b'Basic realm="robxfer", charset="UTF-8"'), (b"www-authenticate", b"Bearer")]
)
_HOST = re.compile(r"\[?([^\[\]:]+|[0-9a-f:]+)\]?(:[0-9]+)?", re.IGNORECASE)

log = structlog.get_logger()


class Gate:
    """ASGI middleware: who asks, how often, from what page; and for what asks for a change, a line in the trail."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._settings, self._engine = context.settings, context.engine
        self._requests = Rate(context.settings.rate_per_minute)
        self._failures = Rate(context.settings.failures_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) == ("GET", "/healthz"):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            header = request.headers.get("authorization", "")
            caller = await run_in_threadpool(caller_of, self._settings, self._engine, header)
            request.state.caller = caller
            self._count(request, caller)
            line = await run_in_threadpool(self._begin, request, caller) if request.method not in SAFE else None
        except Refused as refused:
            await answer(refused.problem, refused.headers)(scope, receive, send)
            return
        except AWAY as error:
            log.warning("the database does not answer", error=str(error).splitlines()[0])
            await answer(NO_DATABASE.problem, NO_DATABASE.headers)(scope, receive, send)
            return
        send, answered = watched(send)
        try:
            refusal = self._refusal(request, caller)
            proceed = answer(refusal.problem, refusal.headers) if refusal else self._app
            await proceed(scope, receive, send)
        finally:
            if line is not None:
                await run_in_threadpool(self._end, line, answered.status, answered.made)

    def _count(self, request: Request, caller: Caller | None) -> None:
        """Raises Refused where the caller has asked too often, or strangers at an address have."""
        # A browser asks without its password first, often: that is no failure, but a token that does not hold is one.
        failed = caller is None and ("authorization" in request.headers or request.method not in SAFE)
        key = key_of(caller, address_of(request))
        wait = (self._failures if failed else self._requests).take(key)
        if wait:
            seconds = math.ceil(wait)
            raise Refused(429, f"Too many requests; ask again in {seconds} s.", headers={"Retry-After": str(seconds)})

    def _refusal(self, request: Request, caller: Caller | None) -> Refused | None:
        """Why the request goes no further."""
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if caller is None:
            return Refused(401, UNKNOWN, headers=CHALLENGES)
        if self._settings.access == "open" and not _is_local(host):
            # A page whose name was made to point here would otherwise read and write as if it were ours.
            return Refused(421, f"The header Host is {host!r}; takes localhost or a loopback address.")
        if request.method not in SAFE and _is_foreign(host, origin, request.headers.get("sec-fetch-site")):
            return Refused(403, f"A page of another site asks ({origin or 'cross-site'}); takes the header Host's own.")
        return None

    def _begin(self, request: Request, caller: Caller | None) -> int:
        path = request.url.path
        return audit.begin(
            self._engine,
            (caller.name or "anyone") if caller else "unknown",
            action_of(request.method, path),
            subject_of(path),
            project_id=caller and caller.project,
            token_id=caller and caller.token_id,
            address=address_of(request),
        )

    def _end(self, line: int, status: int, made: str | None) -> None:
        try:
            audit.end(self._engine, line, status, made)
        except SQLAlchemyError:
            log.exception("the trail has a line without its end", line=line, status=status)


def _is_local(host: str) -> bool:
    found = _HOST.fullmatch(host)
    return found is not None and is_loopback(found[1].lower())


def _is_foreign(host: str, origin: str | None, fetch_site: str | None) -> bool:
    """Whether a browser says that a page from elsewhere asks: the password it knows for here travels by itself."""
    if origin is not None:
        return origin.partition("://")[2].lower() != host.lower()
    return fetch_site not in (None, "none", "same-origin")
