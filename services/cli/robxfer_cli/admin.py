"""Projects, tokens and the trail, straight in the database of the settings: who can reach it is the operator."""

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from .options import UNREACHABLE, WRONG

if TYPE_CHECKING:
    from sqlalchemy import Engine

app = typer.Typer()
token_app = typer.Typer(no_args_is_help=True, help="Make, list and revoke tokens, in the settings' database.")
project_app = typer.Typer(no_args_is_help=True, help="Make, list and limit projects, in the settings' database.")
app.add_typer(token_app, name="token")
app.add_typer(project_app, name="project")

console = Console(markup=False, highlight=False, soft_wrap=True)
errors = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
SECONDS = {"m": 60, "h": 3600, "d": 86400}

Project = Annotated[str, typer.Option(help="whose it is")]
Quota = Annotated[int | None, typer.Option(min=0, help="jobs that may run at once; without it, as many as can")]
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


@token_app.command("create")
def create_token(
    name: str,
    project: Project = "default",
    scope: Annotated[Literal["read", "submit", "admin"], typer.Option(help="each includes those before it")] = "submit",
    expires: Annotated[str | None, typer.Option(metavar="30d", help="it holds so long: m, h or d")] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Make a token and print it: once, since only its sha256 is kept."""
    from robxfer_core.ledger import projects, tokens

    expires_s = None if expires is None else _seconds(expires)
    with _ledger() as engine:
        projects.get(engine, project)
        with _noted(engine, "token create", f"{name} ({scope})", project):
            token, secret = tokens.create(engine, project, name, scope, expires_s)
    if as_json:
        _print_json(vars(token) | {"token": secret})
        return
    until = "until it is revoked" if token.expires_at is None else f"until {_when(token.expires_at)}"
    errors.print(f"scope {scope} in the project {project}, {until}; it is told here and never again:")
    sys.stdout.write(secret + "\n")


@token_app.command("list")
def list_tokens(project: Project = "default", as_json: Json = False) -> None:
    """List a project's tokens, newest first."""
    from robxfer_core.ledger import tokens

    with _ledger() as engine:
        found = tokens.page(engine, project, limit=1000).items
    if as_json:
        _print_json([vars(each) for each in found])
        return
    columns = ("created_at", "expires_at", "used_at", "revoked_at")
    _print_table(
        ("name", "scope", "created", "expires", "used", "revoked"),
        [(each.name, each.scope, *(_when(getattr(each, column)) for column in columns)) for each in found],
    )


@token_app.command("revoke")
def revoke_token(name: str, project: Project = "default") -> None:
    """End a token, by its name or id, at once."""
    from robxfer_core.ledger import projects, tokens

    with _ledger() as engine:
        projects.get(engine, project)
        with _noted(engine, "token revoke", name, project):
            tokens.revoke(engine, project, name)
    console.print(f"the token {name} of the project {project} is revoked")


@project_app.command("create")
def create_project(name: str, quota: Quota = None) -> None:
    """Make a project."""
    from robxfer_core.ledger import projects

    with _ledger() as engine, _noted(engine, "project create", _quota(name, quota)):
        projects.create(engine, name, quota)
    console.print(f"the project {name} is made; `robxfer token create NAME --project {name}` lets somebody in")


@project_app.command("list")
def list_projects(as_json: Json = False) -> None:
    """List projects and how many jobs each may run at once."""
    from robxfer_core.ledger import projects

    with _ledger() as engine:
        found = projects.all_projects(engine)
    if as_json:
        _print_json([vars(each) for each in found])
    else:
        _print_table(("project", "quota"), [(each.id, "" if each.quota is None else str(each.quota)) for each in found])


@project_app.command("set")
def set_project(name: str, quota: Quota = None) -> None:
    """Set how many of a project's jobs may run at once; without --quota, as many as there are slots."""
    from robxfer_core.ledger import projects

    with _ledger() as engine:
        projects.get(engine, name)
        with _noted(engine, "project set", _quota(name, quota), name):
            projects.set_quota(engine, name, quota)
    console.print(f"the project {_quota(name, quota)}")


@app.command("audit")
def show_trail(
    project: Annotated[str | None, typer.Option(help="only its lines")] = None,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    as_json: Json = False,
) -> None:
    """Show who asked for what change, newest first, those nobody knew among them."""
    from robxfer_core.ledger import audit

    with _ledger() as engine:
        found = audit.page(engine, project, limit)
    if as_json:
        _print_json([vars(each) for each in found])
        return
    _print_table(
        ("at", "project", "who", "action", "subject", "status", "address"),
        [
            (_when(each.at), each.project_id or "", each.who, each.action, each.subject or "",
             "" if each.status is None else str(each.status), each.address or "")
            for each in found
        ],
    )  # fmt: skip


@contextmanager
def _ledger() -> Iterator["Engine"]:
    """The database of the settings; what is wrong with it or with what was asked becomes a message and a status."""
    from sqlalchemy.exc import OperationalError

    from robxfer_core.ledger import migrate
    from robxfer_core.ledger.engine import Conflict, Unknown, connect
    from robxfer_core.settings import Settings

    settings = Settings()
    engine = connect(settings.database_url)
    try:
        at = migrate.current(settings.database_url)
        if at != migrate.head():
            _refuse(f"the database is at {at or 'none'}, takes {migrate.head()}: run `robxfer migrate`", WRONG)
        yield engine
    except OperationalError as error:
        _refuse(f"could not reach the database: {error.orig}", UNREACHABLE)
    except (Unknown, Conflict, ValueError) as error:
        _refuse(str(error), WRONG)
    finally:
        engine.dispose()


def _noted(engine: "Engine", action: str, subject: str, project: str | None = None) -> Any:
    from robxfer_core.ledger import audit

    return audit.by_operator(engine, action, subject, project)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text)
    if found is None:
        _refuse(f"--expires is {text!r}; takes a number and m, h or d: 30d", WRONG)
    return float(found[1]) * SECONDS[found[2]]


def _refuse(message: str, status: int) -> NoReturn:
    errors.print(message, style="red")
    sys.exit(status)


def _quota(name: str, quota: int | None) -> str:
    return f"{name} (quota {'none' if quota is None else quota})"


def _when(seconds: float | None) -> str:
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def _print_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    console.print(table)
