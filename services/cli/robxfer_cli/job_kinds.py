"""Command about the kinds of jobs: job-kinds."""

import re
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from robxfer_core.spec.wire.jobs import KindView, ParameterView, ResultFieldView

from .connection import connect
from .options import ServiceOptions, model_options
from .output import WRONG, console, fail, print_json

app = typer.Typer()


@app.command("job-kinds")
@model_options
def job_kinds(
    options: ServiceOptions,
    kind: Annotated[str | None, typer.Argument(help="Show the parameters and the result of this kind.")] = None,
) -> None:
    """List the kinds of jobs, or show the parameters and the result of one."""
    with connect(options, "api") as client:
        kinds = {view.kind: view for view in client.job_kinds().items}
    if kind is not None and kind not in kinds:
        fail(f"there is no kind {kind}; takes one of {', '.join(kinds)}", WRONG)
    if options.as_json:
        print_json(kinds[kind] if kind else [view.model_dump(mode="json") for view in kinds.values()])
    elif kind:
        print_kind(kinds[kind], console)
    else:
        print_kinds(list(kinds.values()), console)


def print_kinds(kinds: Sequence[KindView], console: Console) -> None:
    """Prints the kinds, with the type of artifact that each leaves and the first sentence of its meaning."""
    table = Table("kind", "leaves", "meaning")
    for view in kinds:
        table.add_row(view.kind, view.artifact, Text(_first_sentence(view.meaning)))
    console.print(table)


def _first_sentence(text: str) -> str:
    return re.split(r"(?<!\bal)\.\s", text, maxsplit=1)[0].rstrip(".")  # not after "et al."


def print_kind(view: KindView, console: Console) -> None:
    """Prints what a kind computes, its parameters, its result and the models inside both."""
    console.print(view.meaning)
    _print_fields("parameters", view.parameters, console)
    for name, parameters in view.parts.items():
        _print_fields(f"parameters in {name}", parameters, console)
    for result in view.results:
        _print_fields(f"result.json: {result.meaning}", result.fields, console)
    for name, fields in view.result_parts.items():
        _print_fields(f"result.json, in {name}", fields, console)


def _print_fields(title: str, fields: Sequence[ParameterView | ResultFieldView], console: Console) -> None:
    table = Table("name", "type", "unit", "meaning", title=title, title_justify="left")
    for field in fields:
        table.add_row(field.name, Text(field.type), Text(field.unit), Text(field.meaning))
    console.print(table)
