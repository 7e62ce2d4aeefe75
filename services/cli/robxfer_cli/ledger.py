"""The database and the store of the settings (ROBXFER_*), for commands of an operator."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .output import UNREACHABLE, WRONG, fail

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from robxfer_core.settings import Settings
    from robxfer_core.storage import Store


@contextmanager
def database_errors() -> Iterator[None]:
    """In the block, what is wrong with the database ends the command with a message and exit status 2 or 4."""
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

    from robxfer_core.ledger.engine import Conflict, NotFound

    try:
        yield
    except (ArgumentError, NoSuchModuleError) as error:
        fail(f"ROBXFER_DATABASE_URL: {error}; takes sqlite:///FILE or postgresql+psycopg://...", WRONG)
    except OperationalError as error:
        fail(f"could not reach the database: {error.orig}", UNREACHABLE)
    except (NotFound, Conflict) as error:
        fail(str(error), WRONG)


@contextmanager
def open_ledger(settings: "Settings") -> Iterator["Engine"]:
    """Opens the database of the settings, which has to be at the newest schema.

    Yields:
        An engine. In the block, errors of the database are handled as in `database_errors`.
    """
    from robxfer_core.ledger import migrate
    from robxfer_core.ledger.engine import connect

    with database_errors():
        engine = connect(settings.database_url)
        try:
            revision = migrate.current(settings.database_url)
            if revision != migrate.head():
                fail(f"the database is at {revision or 'none'}, takes {migrate.head()}: run `robxfer migrate`", WRONG)
            yield engine
        finally:
            engine.dispose()


def open_store(settings: "Settings") -> "Store":
    """Opens the store; a URL that is not understood exits with status 2."""
    from robxfer_core import storage

    try:
        return storage.open_store(settings.store_url, settings)
    except ValueError as error:
        fail(f"ROBXFER_STORE_URL: {error}", WRONG)
