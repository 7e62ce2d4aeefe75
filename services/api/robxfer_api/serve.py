"""Runs the API under uvicorn."""

import socket
import sys
from collections.abc import Callable
from typing import TextIO

import uvicorn

from robxfer_core.logs import log_to
from robxfer_core.settings import Settings

from .context import Context
from .main import create_app

GRACE_S = 5  # seconds that open requests may take once the server is told to stop


class Server(uvicorn.Server):
    """The API on `settings.host` and `settings.port` (0: a free one).

    It says when it listens, and lets event streams go before it waits for open requests to end. Setting `should_exit`
    stops it from another thread, as SIGINT and SIGTERM do in the main one.
    """

    def __init__(self, settings: Settings, ready: Callable[[str], None] | None = None) -> None:
        app = create_app(settings)
        self.context: Context = app.state.context
        self._listener = socket.create_server(
            (settings.host, settings.port), family=socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        )
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.url = f"http://{host}:{self._listener.getsockname()[1]}"
        self._ready = ready or (lambda url: None)
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                ws="none",
                proxy_headers=bool(settings.proxies),
                forwarded_allow_ips=settings.proxies,
                timeout_graceful_shutdown=GRACE_S,
            )
        )

    def serve_until_stopped(self) -> None:
        self.run(sockets=[self._listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready(self.url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.context.fan.close()
        await super().shutdown(sockets)


def serve(settings: Settings, ready: Callable[[str], None] | None = None, log: TextIO = sys.stderr) -> None:
    """Serves until told to stop. `ready` gets the URL once it answers, and `log` a line for each request."""
    log_to(log)
    Server(settings, ready).serve_until_stopped()
