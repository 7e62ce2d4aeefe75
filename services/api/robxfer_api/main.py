"""Assembles the app."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.middleware import Middleware
from fastapi.staticfiles import StaticFiles

from robxfer_core import __version__
from robxfer_core.settings import Settings

from .context import ApiContext
from .errors import add_error_handlers
from .middleware import AuthMiddleware, BodyLimitMiddleware, RequestLogMiddleware
from .openapi import complete_openapi
from .routes import ALL

HERE = Path(__file__).parent


def create_app(settings: Settings) -> FastAPI:
    """Makes the app of one service.

    Args:
        settings: Name the database, which has to be migrated already, the broker and the store.

    Returns:
        The app; `app.state.context` is its ApiContext.
    """
    context = ApiContext.of(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        context.broadcaster.start()
        yield
        context.broadcaster.close()
        context.notifications.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(context.engine.dispose)

    app = FastAPI(
        title="robxfer",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        middleware=[
            Middleware(RequestLogMiddleware),
            Middleware(AuthMiddleware, context=context),
            Middleware(BodyLimitMiddleware, settings=settings),
        ],
    )
    app.state.context = context
    add_error_handlers(app, [route for router in ALL for route in router.routes])
    for router in ALL:
        app.include_router(router)
    complete_openapi(app)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    return app
