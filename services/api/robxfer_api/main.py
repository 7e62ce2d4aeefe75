"""The HTTP face: puts the app together."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.middleware import Middleware
from fastapi.staticfiles import StaticFiles

from robxfer_core import __version__
from robxfer_core.ledger.engine import connect
from robxfer_core.settings import Settings
from robxfer_core.storage import open_store

from .audit import RequestLog
from .context import Context
from .errors import handle_problems
from .events import Fan
from .middleware import Gate
from .openapi import complete_openapi
from .rate_limit import BodyLimit
from .routes import ALL

HERE = Path(__file__).parent


def create_app(settings: Settings) -> FastAPI:
    """The app of one service. The database's tables are taken as they are: migrating is another command's work."""
    engine = connect(settings.database_url)
    context = Context(
        settings, engine, open_store(settings.store_url, settings), Fan(engine), ThreadPoolExecutor(1, "bell")
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        context.fan.start()
        yield
        context.fan.close()
        context.ringer.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(engine.dispose)

    app = FastAPI(
        title="robxfer",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        middleware=[
            Middleware(RequestLog),
            Middleware(Gate, context=context),
            Middleware(BodyLimit, settings=settings),
        ],
    )
    app.state.context = context
    handle_problems(app, [route for router in ALL for route in router.routes])
    for router in ALL:
        app.include_router(router)
    complete_openapi(app)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    return app
