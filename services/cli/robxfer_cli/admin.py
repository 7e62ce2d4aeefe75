"""Commands of an operator about projects, tokens and the audit log, straight in the database of the settings."""

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from .ledger import open_ledger
from .output import WRONG, console, errors, fail, print_json

if TYPE_CHECKING:
    from sqlalchemy import Engine

app = typer.Typer()
token_app = typer.Typer(no_args_is_help=True, help="Make, list and revoke tokens, in the settings' database.")
project_app = typer.Typer(no_args_is_help=True, help="Make, list and limit projects, in the settings' database.")
app.add_typer(token_app, name="token")
app.add_typer(project_app, name="project")

SECONDS = {"m": 60, "h": 3600, "d": 86400}

Scope = Literal["read", "submit", "admin"]
Project = Annotated[str, typer.Option(help="Project of the token.")]
Quota = Annotated[int | None, typer.Option(min=0, help="Jobs that may run at once; without it, no limit.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@token_app.command("create")
def create_token(
    name: str,
    project: Project = "default",
    scope: Annotated[
        Literal["read", "submit", "admin"], typer.Option(help="Each includes those before it.")
    ] = "submit",
    expires: Annotated[str | None, typer.Option(metavar="30d", help="Lifetime, in m, h or d.")] = None,
    as_json: Json = False,
) -> None:
    """Make a token and print it: once, since only its sha256 is kept."""
    from robxfer_core.ledger import audit, projects, tokens

    expires_s = None if expires is None else _seconds(expires)
    with _open() as engine:
        projects.get(engine, project)
        with audit.by_operator(engine, "token create", f"{name} ({scope})", project):
            token, secret = tokens.create(engine, project, name, scope, expires_s)
    if as_json:
        print_json(vars(token) | {"token": secret})
        return
    until = "until it is revoked" if token.expires_at is None else f"until {_time(token.expires_at)}"
    errors.print(f"scope {scope} in the project {project}, {until}; it is not shown again:", soft_wrap=True)
    sys.stdout.write(secret + "\n")


@token_app.command("list")
def list_tokens(project: Project = "default", as_json: Json = False) -> None:
    """List a project's tokens, newest first."""
    from robxfer_core.ledger import tokens

    with _open() as engine:
        listed = tokens.page(engine, project, limit=1000).items
    if as_json:
        print_json([vars(token) for token in listed])
        return
    times = ("created_at", "expires_at", "used_at", "revoked_at")
    _print_table(
        ("name", "scope", "created", "expires", "used", "revoked"),
        [(token.name, token.scope, *(_time(getattr(token, name)) for name in times)) for token in listed],
    )


@token_app.command("revoke")
def revoke_token(name: str, project: Project = "default") -> None:
    """End a token, by its name or id, at once."""
    from robxfer_core.ledger import audit, projects, tokens

    with _open() as engine:
        projects.get(engine, project)
        with audit.by_operator(engine, "token revoke", name, project):
            tokens.revoke(engine, project, name)
    console.print(f"the token {name} of the project {project} is revoked", soft_wrap=True)


@project_app.command("create")
def create_project(name: str, quota: Quota = None) -> None:
    """Make a project."""
    from robxfer_core.ledger import audit, projects

    with _open() as engine, audit.by_operator(engine, "project create", _with_quota(name, quota)):
        projects.create(engine, name, quota)
    console.print(
        f"the project {name} is made; `robxfer token create NAME --project {name}` gives access", soft_wrap=True
    )


@project_app.command("list")
def list_projects(as_json: Json = False) -> None:
    """List projects and how many jobs each may run at once."""
    from robxfer_core.ledger import projects

    with _open() as engine:
        listed = projects.list_all(engine)
    if as_json:
        print_json([vars(project) for project in listed])
        return
    rows = [(project.id, "" if project.quota is None else str(project.quota)) for project in listed]
    _print_table(("project", "quota"), rows)


@project_app.command("set")
def set_project(name: str, quota: Quota = None) -> None:
    """Set how many of a project's jobs may run at once; without --quota, as many as there are slots."""
    from robxfer_core.ledger import audit, projects

    with _open() as engine:
        projects.get(engine, name)
        with audit.by_operator(engine, "project set", _with_quota(name, quota), name):
            projects.set_quota(engine, name, quota)
    console.print(f"the project {_with_quota(name, quota)}", soft_wrap=True)


@app.command("audit")
def show_audit(
    project: Annotated[str | None, typer.Option(help="Only requests of this project.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many lines.")] = 50,
    as_json: Json = False,
) -> None:
    """Show who asked for which change, newest first, requests without a valid token among them."""
    from robxfer_core.ledger import audit

    with _open() as engine:
        lines = audit.page(engine, project, limit)
    if as_json:
        print_json([vars(line) for line in lines])
        return
    _print_table(
        ("at", "project", "who", "action", "subject", "status", "address"),
        [
            (_time(line.at), line.project_id or "", line.who, line.action, line.subject or "",
             "" if line.status is None else str(line.status), line.address or "")
            for line in lines
        ],
    )  # fmt: skip


@contextmanager
def _open() -> Iterator["Engine"]:
    """The settings' database; a name that the ledger refuses exits with status 2."""
    from robxfer_core.settings import Settings

    with open_ledger(Settings()) as engine:
        try:
            yield engine
        except ValueError as error:
            fail(str(error), WRONG)


def _seconds(text: str) -> float:
    """Reads a length of time: "30d" -> 2592000.0."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text)
    if match is None:
        fail(f"--expires is {text!r}; takes a number and m, h or d: 30d", WRONG)
    return float(match[1]) * SECONDS[match[2]]


def _with_quota(name: str, quota: int | None) -> str:
    return f"{name} (quota {'none' if quota is None else quota})"


def _time(seconds: float | None) -> str:
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _print_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    console.print(table, soft_wrap=True)
