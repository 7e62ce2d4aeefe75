"""Where commands print, and how they exit."""

import json
import os
import sys
from typing import Any, NoReturn

from pydantic import BaseModel
from rich.console import Console

FAILED, WRONG, UNREACHABLE = 1, 2, 4
"""Exit statuses: the experiment failed or was cancelled; the request was wrong; the service was not reached."""

# Names may hold brackets, which are no markup, and numbers, which need no colour.
console = Console(markup=False, highlight=False)
errors = Console(stderr=True, markup=False, highlight=False)


def fail(message: str, status: int) -> NoReturn:
    """Prints a message on standard error and ends the command with the exit status."""
    errors.print(message, style="red", soft_wrap=True)
    sys.exit(status)


def print_json(value: Any) -> None:
    """Prints a model, or a value that JSON has, on standard output."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    sys.stdout.write(json.dumps(plain, indent=2) + os.linesep)
