"""The command line.

Exit status: 0 done, 1 the experiment failed or was cancelled, 2 the request was wrong, 4 the server was not reached
(3 is kept for gates that were breached).
"""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import stamina
import typer
from pydantic import BaseModel, ValidationError

from robxfer_core import __version__
from robxfer_core.client import ApiError, Client, DownloadError, Unreachable
from robxfer_core.spec.wire.experiments import ExperimentView

from . import admin, deployment, gc, imports, results, stack, tables
from .connection import Need, NothingRuns, Target, service
from .options import FAILED, HERE, UNREACHABLE, WRONG, DataDir, Json, Server, Token, console, errors
from .progress import follow

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Does adversarial robustness help a network transfer?",
)
ACCESS = {
    "open": "It is open to this machine alone: it listens on a loopback address and checks the Host header.",
    "tokens": "It takes tokens: `robxfer token create` makes them.",
}


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"robxfer {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The options of `robxfer` itself."""


@app.command()
def run(
    spec: Path, out: Annotated[Path, typer.Option(help="folder for what comes out")],
    server: Server = None, token: Token = None, data_dir: DataDir = HERE, json: Json = False,
) -> None:  # fmt: skip
    """Submit a spec, follow it to its end and download what its jobs left and none of them takes."""
    body = _read(spec)
    _make(out)
    with _service(server, token, data_dir, "worker") as client:
        submitted = client.submit(body, _media(spec))
        ended = _follow(client, submitted.id, json)
        found = results.download(client, ended, out) if ended.state == "done" else {}
    files = [file for each in found.values() for file in each]
    if json:
        _print({"experiment": ended.model_dump(mode="json"), "files": [str(file) for file in files]})
    else:
        results.tell(found, console)
        tables.written(files, console)
    _exit(ended)


@app.command()
def plan(spec: Path, server: Server = None, token: Token = None, data_dir: DataDir = HERE, json: Json = False) -> None:
    """Show what a spec would compute, what is done already, what it could detect and what it costs."""
    body = _read(spec)
    with _service(server, token, data_dir, "api") as client:
        view = client.plan(body, _media(spec))
    _print(view) if json else tables.plan(view, console)


@app.command()
def submit(
    spec: Path, wait: Annotated[bool, typer.Option(help="follow it to its end")] = False,
    server: Server = None, token: Token = None, data_dir: DataDir = HERE, json: Json = False,
) -> None:  # fmt: skip
    """Submit a spec; with --wait, follow it to its end."""
    body = _read(spec)
    with _service(server, token, data_dir, "worker" if wait else "running") as client:
        submitted = client.submit(body, _media(spec))
        ended: ExperimentView = _follow(client, submitted.id, json) if wait else submitted
    _print(ended) if json else console.print(ended.id, highlight=False)
    if wait:
        _exit(ended)


@app.command()
def watch(id: str, server: Server = None, token: Token = None, data_dir: DataDir = HERE, json: Json = False) -> None:
    """Follow an experiment to its end."""
    with _service(server, token, data_dir, "worker") as client:
        ended = _follow(client, id, json)
    _print(ended) if json else tables.experiment(ended, console)
    _exit(ended)


@app.command("list")
def list_(
    state: str | None = None, name: str | None = None,
    label: Annotated[str | None, typer.Option(help="key=value")] = None,
    limit: int = 20, cursor: str | None = None,
    server: Server = None, token: Token = None, data_dir: DataDir = HERE, json: Json = False,
) -> None:  # fmt: skip
    """List experiments, newest first."""
    with _service(server, token, data_dir, "api") as client:
        page = client.list(state=state, name=name, label=label, limit=limit, cursor=cursor)
    _print(page) if json else tables.experiments(page, console)


@app.command("show")
def show_(id: str, server: Server = None, token: Token = None, data_dir: DataDir = HERE, json: Json = False) -> None:
    """Show an experiment, the states of its jobs, and why those that failed did."""
    with _service(server, token, data_dir, "api") as client:
        view = client.get(id)
        failed = [node for node in view.nodes if node.state == "failed"]
        jobs = {} if json else {node.name: client.job(node.job_id) for node in failed[: tables.FAILURES]}
    if json:
        _print(view)
    else:
        tables.experiment(view, console)
        tables.failures(jobs, len(failed), console)


@app.command()
def cancel(id: str, server: Server = None, token: Token = None, data_dir: DataDir = HERE, json: Json = False) -> None:
    """End an experiment; jobs that no other needs are stopped."""
    _act(lambda client: client.cancel(id), server, token, data_dir, json)


@app.command()
def retry(id: str, server: Server = None, token: Token = None, data_dir: DataDir = HERE, json: Json = False) -> None:
    """Run an experiment's failed and cancelled jobs again, with a fresh budget."""
    _act(lambda client: client.retry(id), server, token, data_dir, json)


@app.command()
def pull(
    artifact: str, dest: Path, server: Server = None, token: Token = None, data_dir: DataDir = HERE, json: Json = False
) -> None:
    """Download an artifact's files, each verified by its sha256."""
    _make(dest)
    with _service(server, token, data_dir, "api") as client:
        files = client.download(artifact, dest)
    _print([str(file) for file in files]) if json else tables.written(list(files), console)


@app.command()
def pin(
    artifact: str, server: Server = None, token: Token = None, data_dir: DataDir = HERE, json: Json = False
) -> None:
    """Keep an artifact from being collected (see gc), however old it is."""
    with _service(server, token, data_dir, "api") as client:
        view = client.pin(artifact)
    _print(view) if json else console.print(f"{view.id} is kept until `robxfer unpin {view.id}`", highlight=False)


@app.command()
def unpin(
    artifact: str, server: Server = None, token: Token = None, data_dir: DataDir = HERE, json: Json = False
) -> None:
    """Let an artifact be collected again (see gc)."""
    with _service(server, token, data_dir, "api") as client:
        view = client.unpin(artifact)
    _print(view) if json else console.print(f"{view.id} is no longer pinned", highlight=False)


@app.command()
def up(port: Annotated[int, typer.Option(help="0: a free one")] = 8000, data_dir: DataDir = HERE) -> None:
    """Run the embedded stack (API, worker and web page) until interrupted."""

    def announce(answer: dict[str, Any]) -> None:
        if "url" in answer:
            console.print(f"robxfer listens on {answer['url']} (data in {data_dir.absolute()})", highlight=False)
            console.print(ACCESS[answer["access"]], highlight=False, soft_wrap=True)
        else:
            errors.print(answer["error"], style="red", highlight=False)
            raise typer.Exit(WRONG)

    stack.host(data_dir.absolute(), worker=True, port=port, announce=announce)


app.add_typer(deployment.app)
app.add_typer(admin.app)
app.add_typer(imports.app)
app.command()(gc.gc)


def main() -> None:
    """Entry point: errors become a message and an exit status."""
    stamina.instrumentation.set_on_retry_hooks([])  # what comes of it in the end is said; each try is not
    try:
        app()
    except ApiError as error:
        _refused(error)
        sys.exit(WRONG if error.problem.status < 500 else UNREACHABLE)
    except (NothingRuns, DownloadError) as error:
        errors.print(str(error), style="red", highlight=False)
        sys.exit(WRONG)
    except ValidationError as error:
        if error.title != "Settings":
            raise
        for item in error.errors():
            got = f"got {item['input']!r}: " if item["loc"] else ""  # else it is all of them, secrets too
            name = "_".join(["robxfer", *map(str, item["loc"])]).upper() + ("" if item["loc"] else "_*")
            errors.print(f"{name}: {got}{item['msg']}", style="red", highlight=False)
        sys.exit(WRONG)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        errors.print(f"the port is taken: {error}", style="red", highlight=False)
        sys.exit(WRONG)
    except (Unreachable, stack.StackError) as error:
        errors.print(f"could not reach the service: {error}", style="red", highlight=False)
        sys.exit(UNREACHABLE)


def _service(server: str | None, token: str | None, data_dir: Path, need: Need) -> Any:
    return service(Target(server, token or _token_in_file(), data_dir.absolute()), need)


def _token_in_file() -> str | None:
    file = os.environ.get("ROBXFER_TOKEN_FILE")
    return _read(Path(file)).decode().strip() if file else None


def _act(
    act: Callable[[Client], ExperimentView], server: str | None, token: str | None, data_dir: Path, json: bool
) -> None:
    with _service(server, token, data_dir, "api") as client:
        view = act(client)
    _print(view) if json else tables.experiment(view, console)


def _follow(client: Client, id: str, json: bool) -> ExperimentView:
    try:
        return follow(client, id, errors if json else console)
    except KeyboardInterrupt:
        errors.print(f"\nno longer following; go on with `robxfer watch {id}`, end it with `robxfer cancel {id}`")
        sys.exit(130)


def _read(spec: Path) -> bytes:
    try:
        return spec.read_bytes()
    except OSError as error:
        errors.print(f"{spec}: {error.strerror}", style="red", highlight=False, soft_wrap=True)
        sys.exit(WRONG)


def _make(folder: Path) -> None:
    """The folder for what is downloaded: one that cannot be made is known before anything is computed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        errors.print(f"{folder}: {error.strerror}", style="red", highlight=False, soft_wrap=True)
        sys.exit(WRONG)


def _media(spec: Path) -> Literal["yaml", "json"]:
    return "json" if spec.suffix == ".json" else "yaml"


def _print(value: Any) -> None:
    import json

    ready = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    sys.stdout.write(json.dumps(ready, indent=2) + os.linesep)


def _refused(error: ApiError) -> None:
    problem = error.problem
    # The list below says all that the detail does, where there is one.
    told = f"{problem.title}: {problem.detail}" if problem.detail and not problem.errors else problem.title
    errors.print(told, style="red", highlight=False)
    for item in problem.errors:
        errors.print(f"  {item.at or 'spec'}: got {item.got}; takes {item.takes}", highlight=False)


def _exit(ended: ExperimentView) -> None:
    if ended.state != "done":
        errors.print(
            f"the experiment has ended, {ended.state}: `robxfer show {ended.id}` says why; to go on, "
            f"`robxfer retry {ended.id}` and `robxfer watch {ended.id}`",
            style="red",
            highlight=False,
            soft_wrap=True,
        )
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
