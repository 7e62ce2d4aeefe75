"""The gate: every request passes it before a route is looked for, so that no route can be forgotten."""

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from .access import caller_of
from .context import Context
from .problems import Refused, answer

UNKNOWN = "This takes a token that is known, has not expired and is not revoked, as `Authorization: Bearer TOKEN`."
# Two headers: browsers that read but the first challenge of one ask for a password all the same.
CHALLENGES = (("WWW-Authenticate", 'Basic realm="robxfer", charset="UTF-8"'), ("WWW-Authenticate", "Bearer"))


class Gate:
    """ASGI middleware: finds out who asks."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) == ("GET", "/healthz"):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        settings, engine = self._context.settings, self._context.engine
        caller = await run_in_threadpool(caller_of, settings, engine, request.headers.get("authorization", ""))
        if caller is None:
            response = answer(Refused(401, UNKNOWN).problem)
            for name, value in CHALLENGES:
                response.headers.append(name, value)
            await response(scope, receive, send)
            return
        request.state.caller = caller
        await self._app(scope, receive, send)
