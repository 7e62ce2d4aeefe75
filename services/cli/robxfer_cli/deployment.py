"""What an operator starts by the settings of the environment (ROBXFER_*): the API, workers, migrations, the bucket."""

import sys
from typing import Annotated

import typer

from .options import FAILED, UNREACHABLE, WRONG, console, errors

app = typer.Typer()


@app.command()
def worker(check: Annotated[bool, typer.Option(help="only ask whether this host's worker lives")] = False) -> None:
    """Run a worker by the settings of the environment (ROBXFER_*)."""
    from robxfer_core.settings import Settings
    from robxfer_worker.folders import marked

    settings = Settings()
    if check:  # often asked: without what working takes to import
        assert settings.work_dir is not None
        raise typer.Exit(0 if marked(settings.work_dir) else FAILED)
    from robxfer_worker.worker import main as work

    raise typer.Exit(work(settings))


@app.command()
def api() -> None:
    """Run the API by the settings of the environment (ROBXFER_*)."""
    from robxfer_api.serve import serve
    from robxfer_core.settings import Settings

    serve(Settings(), lambda url: print(f"robxfer listens on {url}", flush=True))


@app.command()
def migrate() -> None:
    """Bring the database of the settings (ROBXFER_DATABASE_URL) to the newest schema."""
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

    from robxfer_core.ledger.migrate import upgrade
    from robxfer_core.settings import Settings

    try:
        upgrade(Settings().database_url)
    except (ArgumentError, NoSuchModuleError) as error:
        errors.print(
            f"ROBXFER_DATABASE_URL: {error}; takes sqlite:///FILE or postgresql+psycopg://...", highlight=False
        )
        sys.exit(WRONG)
    except OperationalError as error:
        errors.print(f"could not reach the database: {error.orig}", style="red", highlight=False)
        sys.exit(UNREACHABLE)


@app.command("make-bucket")
def make_bucket() -> None:
    """Make the bucket of the settings (ROBXFER_STORE_URL) where it is not there yet."""
    from minio.error import S3Error
    from urllib3.exceptions import HTTPError

    from robxfer_core.settings import Settings
    from robxfer_core.storage import S3Store, open_store

    settings = Settings()
    try:
        store = open_store(settings.store_url, settings)
    except ValueError as error:
        errors.print(f"ROBXFER_STORE_URL: {error}", style="red", highlight=False)
        sys.exit(WRONG)
    if not isinstance(store, S3Store):
        errors.print(f"ROBXFER_STORE_URL is {settings.store_url}, which needs no bucket", highlight=False)
        return
    try:
        made = store.make_bucket()
    except (S3Error, HTTPError) as error:
        errors.print(f"could not make the bucket {store.bucket}: {error}", style="red", highlight=False)
        sys.exit(UNREACHABLE)
    console.print(f"the bucket {store.bucket} is {'made' if made else 'there'}", highlight=False)
