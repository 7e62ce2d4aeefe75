"""Runs the API under uvicorn."""

import socket
import sys
from collections.abc import Callable
from typing import TextIO

import uvicorn

from robxfer_core.logs import log_to
from robxfer_core.settings import Settings

from .context import ApiContext
from .main import create_app

SHUTDOWN_TIMEOUT_S = 5
"""Seconds that open requests may take once the server stops."""


class Server(uvicorn.Server):
    """The API on `settings.host` and `settings.port`.

    It ends event streams before it waits for open requests. Setting `should_exit` stops it from another thread, as
    SIGINT and SIGTERM do in the main one.

    Args:
        settings: Port 0 is a free one.
        ready: Called with the URL once requests are answered.
    """

    def __init__(self, settings: Settings, ready: Callable[[str], None] | None = None) -> None:
        app = create_app(settings)
        self.context: ApiContext = app.state.context
        is_ipv6 = ":" in settings.host
        family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
        self._listener = socket.create_server((settings.host, settings.port), family=family)
        host = f"[{settings.host}]" if is_ipv6 else settings.host
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
                timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
            )
        )

    def serve_until_stopped(self) -> None:
        """Runs the server."""
        self.run(sockets=[self._listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to answer; called by uvicorn."""
        await super().startup(sockets)
        self._ready(self.url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends event streams, then everything else; called by uvicorn."""
        self.context.broadcaster.close()
        await super().shutdown(sockets)


def serve(settings: Settings, ready: Callable[[str], None] | None = None, log: TextIO = sys.stderr) -> None:
    """Runs the API until it is stopped.

    Args:
        settings: Of the service.
        ready: Called with the URL once requests are answered.
        log: Gets a line for each request.
    """
    log_to(log)
    Server(settings, ready).serve_until_stopped()
