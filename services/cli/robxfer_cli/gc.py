"""`robxfer gc`: garbage collection in the settings' store and database."""

import json
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal

from .ledger import open_ledger, open_store
from .output import UNREACHABLE, console, fail

if TYPE_CHECKING:
    from robxfer_core.settings import Settings

app = typer.Typer()
DAY_S = 86_400.0
REASONS = {
    "attempt": "ended, and holds neither an artifact nor the checkpoint to resume from",
    "checkpoint": "not the one to resume from, or of a job that no experiment has named for so long",
    "artifact": "of a job that no experiment has named for so long; computed again when it is needed",
    "upload": "imported, or never",
    "part": "of a write to the store that broke off",
}


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    older_than: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="DAYS",
            help="Also remove artifacts, checkpoints, events and workers that nothing has named for so many days.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines; the last one sums up.")] = False,
) -> None:
    """Remove what nothing needs from the store and the database of the settings (ROBXFER_*).

    It never removes what a running experiment, a pinned artifact, a running attempt or an unfinished upload needs, and
    may run at any time. Without --older-than no result goes.
    """
    from minio.error import S3Error
    from urllib3.exceptions import HTTPError

    from robxfer_core.settings import Settings
    from robxfer_core.storage import Unavailable

    settings = Settings()
    try:
        _collect(settings, None if older_than is None else older_than * DAY_S, dry_run, as_json)
    except (S3Error, HTTPError, Unavailable, OSError) as error:
        fail(f"could not go on: {error}", UNREACHABLE)


def _collect(settings: "Settings", older_s: float | None, dry_run: bool, as_json: bool) -> None:
    from robxfer_core.ledger import audit, retention
    from robxfer_core.storage import collection

    action = "gc" if older_s is None else f"gc --older-than {older_s / DAY_S:g}"
    removed: dict[str, Counter[str]] = {}
    with open_ledger(settings) as engine:
        store = open_store(settings)
        with nullcontext() if dry_run else audit.by_operator(engine, action, settings.store_url):
            for item in collection.collect(engine, store, older_s, dry_run):
                removed.setdefault(item.reason, Counter()).update(prefixes=1, objects=item.objects, bytes=item.bytes)
                _print(vars(item), f"{item.reason:10} {item.name}  {decimal(item.bytes)}", as_json)
            rows = retention.remove_history(engine, older_s, dry_run)
    totals = {reason: dict(total) for reason, total in removed.items()}
    _print({"dry_run": dry_run, "removed": totals, "rows": rows}, _summary(dry_run, totals, rows), as_json)


def _print(value: Mapping[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(value) + "\n")
    else:
        console.print(text, soft_wrap=True)


def _summary(dry_run: bool, removed: Mapping[str, Mapping[str, int]], rows: Mapping[str, int]) -> str:
    verb = "would remove" if dry_run else "removed"
    lines = [
        f"{verb} {decimal(total['bytes'])} in {total['objects']} objects of {total['prefixes']} {reason}s: "
        f"{REASONS[reason]}"
        for reason, total in removed.items()
    ]
    lines += [f"{verb} {n} rows of {table}" for table, n in rows.items() if n]
    return "\n".join(lines) or "nothing to remove"
