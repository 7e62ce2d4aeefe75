"""Commands that run the service or prepare what it needs: up, worker, api, migrate, make-bucket."""

from typing import Annotated, Any

import typer

from . import stack
from .ledger import database_errors, open_store
from .options import DEFAULT_DATA_DIR, DataDir
from .output import FAILED, UNREACHABLE, WRONG, console, fail

app = typer.Typer()
ACCESS = {
    "open": "It is open to this machine alone: it listens on a loopback address and checks the Host header.",
    "tokens": "It takes tokens: `robxfer token create` makes them.",
}


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Port of the API; 0 is a free one.")] = 8000,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Run the embedded stack (API, worker and web page) until interrupted."""

    def announce(answer: dict[str, Any]) -> None:
        if "url" not in answer:
            fail(answer["error"], WRONG)
        console.print(f"robxfer listens on {answer['url']} (data in {data_dir.absolute()})")
        console.print(ACCESS[answer["access"]], soft_wrap=True)

    stack.host(data_dir.absolute(), worker=True, port=port, announce=announce)


@app.command()
def worker(
    check: Annotated[bool, typer.Option(help="Only say by the exit status whether this host's worker lives.")] = False,
) -> None:
    """Run a worker by the settings of the environment (ROBXFER_*)."""
    from robxfer_core.settings import Settings
    from robxfer_worker.workdir import marked

    settings = Settings()
    if check:  # asked often: it does not import what a worker needs
        assert settings.work_dir is not None
        raise typer.Exit(0 if marked(settings.work_dir) else FAILED)
    from robxfer_worker.main import main as run_worker

    raise typer.Exit(run_worker(settings))


@app.command()
def api() -> None:
    """Run the API by the settings of the environment (ROBXFER_*)."""
    from robxfer_api.serve import serve
    from robxfer_core.settings import Settings

    serve(Settings(), lambda url: print(f"robxfer listens on {url}", flush=True))


@app.command()
def migrate() -> None:
    """Bring the database of the settings (ROBXFER_DATABASE_URL) to the newest schema."""
    from robxfer_core.ledger.migrate import upgrade
    from robxfer_core.settings import Settings

    settings = Settings()
    with database_errors():
        upgrade(settings.database_url)


@app.command("make-bucket")
def make_bucket() -> None:
    """Make the bucket of the settings (ROBXFER_STORE_URL) where it is not there yet."""
    from minio.error import S3Error
    from urllib3.exceptions import HTTPError

    from robxfer_core.settings import Settings
    from robxfer_core.storage import S3Store

    settings = Settings()
    store = open_store(settings)
    if not isinstance(store, S3Store):
        console.print(f"ROBXFER_STORE_URL is {settings.store_url}, which needs no bucket")
        return
    try:
        made = store.make_bucket()
    except (S3Error, HTTPError) as error:
        fail(f"could not make the bucket {store.bucket}: {error}", UNREACHABLE)
    console.print(f"the bucket {store.bucket} is {'made' if made else 'there'}")
