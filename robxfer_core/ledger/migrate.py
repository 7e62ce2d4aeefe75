"""Migrations, run from code: no ini file, and one migration at a time."""

from collections.abc import Callable
from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from .engine import MIGRATION_LOCK, advisory_lock, connect, read, write


def upgrade(url: str, revision: str = "head") -> None:
    """Bring a database up to a revision. Of several upgrades that start at once, each waits for the one before."""
    _migrate(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str) -> None:
    """Take a database down to a revision; `base` leaves no tables."""
    _migrate(url, lambda config: command.downgrade(config, revision))


def current(url: str) -> str | None:
    """Read the revision that a database is at; None where it was never migrated."""
    engine = connect(url)
    try:
        with read(engine) as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def head() -> str | None:
    """The newest revision."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("robxfer_migrations")).replace("%", "%%"))
    return config


def _migrate(url: str, step: Callable[[Config], None]) -> None:
    config = _config()
    engine = connect(url)
    try:
        with write(engine) as connection:
            advisory_lock(connection, MIGRATION_LOCK)
            config.attributes["connection"] = connection
            step(config)
    finally:
        engine.dispose()
