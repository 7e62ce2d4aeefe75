"""`robxfer gc`: removes what nobody needs from the settings' store and database."""

import json
import sys
from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal

from .options import UNREACHABLE, WRONG, errors

if TYPE_CHECKING:
    from robxfer_core.settings import Settings

console = Console(markup=False, highlight=False, soft_wrap=True)
DAY_S = 86_400.0
REASONS = {
    "attempt": "ended, and holds neither an artifact nor the checkpoint to go on from",
    "checkpoint": "not the one to go on from, or of a job that nobody has named for so long",
    "artifact": "of a job that nobody has named for so long; computed again when it is asked for",
    "upload": "imported, or never",
    "part": "of what broke off on its way to the store",
}


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be removed")] = False,
    older_than: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="DAYS",
            help="also remove artifacts, checkpoints, events and workers that nobody has named for so long",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON lines; the last one sums up")] = False,
) -> None:
    """Remove what nobody needs from the store and the database of the settings (ROBXFER_*).

    It never removes what a running experiment, a pinned artifact, a running attempt or an unfinished upload needs, and
    may run at any time. Without --older-than no result goes.
    """
    from minio.error import S3Error
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError
    from urllib3.exceptions import HTTPError

    from robxfer_core.settings import Settings
    from robxfer_core.storage import Unavailable

    try:
        _collect(Settings(), None if older_than is None else older_than * DAY_S, dry_run, as_json)
    except (ArgumentError, NoSuchModuleError) as error:
        errors.print(f"ROBXFER_DATABASE_URL: {error}", highlight=False)
        sys.exit(WRONG)
    except (OperationalError, S3Error, HTTPError, Unavailable, OSError) as error:
        errors.print(f"could not go on: {getattr(error, 'orig', error)}", style="red", highlight=False)
        sys.exit(UNREACHABLE)


def _collect(settings: "Settings", older_s: float | None, dry_run: bool, as_json: bool) -> None:
    from robxfer_core.ledger import audit, migrate, retention
    from robxfer_core.ledger.engine import connect
    from robxfer_core.storage import collection, open_store

    at = migrate.current(settings.database_url)
    if at != migrate.head():
        errors.print(f"the database is at {at or 'none'}, takes {migrate.head()}: run `robxfer migrate`", style="red")
        sys.exit(WRONG)
    try:
        store = open_store(settings.store_url, settings)
    except ValueError as error:
        errors.print(f"ROBXFER_STORE_URL: {error}", style="red", highlight=False)
        sys.exit(WRONG)
    engine = connect(settings.database_url)
    totals: dict[str, Counter[str]] = {}
    action = "gc" if older_s is None else f"gc --older-than {older_s / DAY_S:g}"
    try:
        with nullcontext() if dry_run else audit.by_operator(engine, action, settings.store_url):
            for each in collection.remove(engine, store, older_s, dry_run):
                totals.setdefault(each.reason, Counter()).update(prefixes=1, objects=each.objects, bytes=each.bytes)
                _tell(vars(each), f"{each.reason:10} {each.name}  {decimal(each.bytes)}", as_json)
            rows = retention.history(engine, older_s, dry_run)
    finally:
        engine.dispose()
    summary = {"dry_run": dry_run, "removed": {reason: dict(total) for reason, total in totals.items()}, "rows": rows}
    _tell(summary, _words(summary), as_json)


def _tell(value: dict[str, Any], words: str, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(value) + "\n")
    else:
        console.print(words)


def _words(summary: dict[str, Any]) -> str:
    verb = "would remove" if summary["dry_run"] else "removed"
    lines = []
    for reason, total in summary["removed"].items():
        much = f"{decimal(total['bytes'])} in {total['objects']} objects of {total['prefixes']} {reason}s"
        lines.append(f"{verb} {much}: {REASONS[reason]}")
    lines += [f"{verb} {n} rows of {table}" for table, n in summary["rows"].items() if n]
    return "\n".join(lines) or "nothing to remove"
