"""Commands about experiments: run, plan, submit, watch, list, show, cancel, retry."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from robxfer_core.client import Client
from robxfer_core.spec.states import ExperimentState, JobState
from robxfer_core.spec.wire.experiments import ExperimentView
from robxfer_core.spec.wire.queries import ExperimentQuery

from . import results, tables
from .connection import connect
from .options import ServiceOptions, model_options
from .output import FAILED, console, errors, fail, print_json
from .paths import make_folder, read_file
from .progress import follow

app = typer.Typer()


@app.command()
@model_options
def run(
    spec: Path, out: Annotated[Path, typer.Option(help="Folder for the results.")], options: ServiceOptions
) -> None:
    """Submit a spec, follow it to its end and download the results that no other of its jobs uses."""
    body = read_file(spec)
    make_folder(out)
    with connect(options, "worker") as client:
        submitted = client.submit(body, _media_type(spec))
        ended = _follow(client, submitted.id, options.as_json)
        downloads = results.download(client, ended, out) if ended.state == ExperimentState.DONE else {}
    files = [file for paths in downloads.values() for file in paths]
    if options.as_json:
        print_json({"experiment": ended.model_dump(mode="json"), "files": [str(file) for file in files]})
    else:
        results.summarise(downloads, console)
        tables.print_paths(files, console)
    _exit_unless_done(ended)


@app.command()
@model_options
def plan(spec: Path, options: ServiceOptions) -> None:
    """Show what a spec would compute, what is done already, what it could detect and what it costs."""
    body = read_file(spec)
    with connect(options, "api") as client:
        view = client.plan(body, _media_type(spec))
    print_json(view) if options.as_json else tables.print_plan(view, console)


@app.command()
@model_options
def submit(
    spec: Path,
    options: ServiceOptions,
    wait: Annotated[bool, typer.Option(help="Follow the experiment to its end.")] = False,
) -> None:
    """Submit a spec; with --wait, follow it to its end."""
    body = read_file(spec)
    with connect(options, "worker" if wait else "running") as client:
        submitted = client.submit(body, _media_type(spec))
        ended: ExperimentView = _follow(client, submitted.id, options.as_json) if wait else submitted
    print_json(ended) if options.as_json else console.print(ended.id)
    if wait:
        _exit_unless_done(ended)


@app.command()
@model_options
def watch(id: str, options: ServiceOptions) -> None:
    """Follow an experiment to its end."""
    with connect(options, "worker") as client:
        ended = _follow(client, id, options.as_json)
    print_json(ended) if options.as_json else tables.print_experiment(ended, console)
    _exit_unless_done(ended)


@app.command("list")
@model_options
def list_experiments(query: ExperimentQuery, options: ServiceOptions) -> None:
    """List experiments, newest first."""
    with connect(options, "api") as client:
        page = client.list(**dict(query))
    print_json(page) if options.as_json else tables.print_experiments(page, console)


@app.command()
@model_options
def show(id: str, options: ServiceOptions) -> None:
    """Show an experiment, the states of its jobs, and why those that failed did."""
    with connect(options, "api") as client:
        view = client.get(id)
        failed = [node for node in view.nodes if node.state == JobState.FAILED]
        shown = [] if options.as_json else failed[: tables.MAX_FAILURES]
        jobs = {node.name: client.job(node.job_id) for node in shown}
    if options.as_json:
        print_json(view)
    else:
        tables.print_experiment(view, console)
        tables.print_failures(jobs, len(failed), console)


@app.command()
@model_options
def cancel(id: str, options: ServiceOptions) -> None:
    """End an experiment; jobs that no other experiment needs are stopped."""
    _change(lambda client: client.cancel(id), options)


@app.command()
@model_options
def retry(id: str, options: ServiceOptions) -> None:
    """Run an experiment's failed and cancelled jobs again, with a fresh budget of attempts."""
    _change(lambda client: client.retry(id), options)


def _change(change: Callable[[Client], ExperimentView], options: ServiceOptions) -> None:
    with connect(options, "api") as client:
        view = change(client)
    print_json(view) if options.as_json else tables.print_experiment(view, console)


def _follow(client: Client, id: str, as_json: bool) -> ExperimentView:
    try:
        return follow(client, id, errors if as_json else console)
    except KeyboardInterrupt:
        errors.print(f"\nno longer following; go on with `robxfer watch {id}`, end it with `robxfer cancel {id}`")
        sys.exit(130)


def _media_type(spec: Path) -> Literal["yaml", "json"]:
    return "json" if spec.suffix == ".json" else "yaml"


def _exit_unless_done(ended: ExperimentView) -> None:
    if ended.state != ExperimentState.DONE:
        fail(
            f"the experiment has ended, {ended.state}: `robxfer show {ended.id}` says why; to go on, "
            f"`robxfer retry {ended.id}` and `robxfer watch {ended.id}`",
            FAILED,
        )
