"""Commands about artifacts: pull, pin, unpin."""

from pathlib import Path

import typer

from . import tables
from .connection import connect
from .options import ServiceOptions, model_options
from .output import console, print_json
from .paths import make_folder

app = typer.Typer()


@app.command()
@model_options
def pull(artifact: str, dest: Path, options: ServiceOptions) -> None:
    """Download an artifact's files, each verified by its sha256."""
    make_folder(dest)
    with connect(options, "api") as client:
        files = client.download(artifact, dest)
    print_json([str(file) for file in files]) if options.as_json else tables.print_paths(list(files), console)


@app.command()
@model_options
def pin(artifact: str, options: ServiceOptions) -> None:
    """Keep an artifact from garbage collection (see gc), however old it is."""
    with connect(options, "api") as client:
        view = client.pin(artifact)
    print_json(view) if options.as_json else console.print(f"{view.id} is kept until `robxfer unpin {view.id}`")


@app.command()
@model_options
def unpin(artifact: str, options: ServiceOptions) -> None:
    """Let garbage collection remove an artifact again (see gc)."""
    with connect(options, "api") as client:
        view = client.unpin(artifact)
    print_json(view) if options.as_json else console.print(f"{view.id} is no longer pinned")
