"""What all commands share: exit statuses, where they print, and the options that say which service is meant."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

FAILED, WRONG, UNREACHABLE = 1, 2, 4
"""Exit statuses: the experiment failed or was cancelled, the request was wrong, the server was not reached."""

console, errors = Console(markup=False), Console(stderr=True, markup=False)  # names may hold brackets

Server = Annotated[
    str | None, typer.Option(envvar="ROBXFER_SERVER", help="URL of a service; without it, the embedded stack")
]
Token = Annotated[
    str | None, typer.Option(envvar="ROBXFER_TOKEN", help="token for the service; or in the file ROBXFER_TOKEN_FILE")
]
DataDir = Annotated[Path, typer.Option(envvar="ROBXFER_DATA_DIR", help="folder of the embedded stack")]
Json = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
HERE = Path("robxfer-data")
