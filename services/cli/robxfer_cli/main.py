"""The command line `robxfer`: all commands together, and how their errors become exit statuses.

Exit status: 0 done, 1 the experiment failed or was cancelled, 2 the request was wrong, 4 the service was not reached.
"""

import errno
import sys
from typing import Annotated

import stamina
import typer
from pydantic import ValidationError

from robxfer_core import __version__
from robxfer_core.client import ApiError, DownloadError, Unreachable

from . import admin, artifacts, deployment, experiments, gc, imports, job_kinds, stack
from .connection import NoStackRuns
from .output import UNREACHABLE, WRONG, errors, fail

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Does adversarial robustness help a network transfer?",
)


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


for commands in (experiments, artifacts, imports, job_kinds, gc, deployment, admin):
    app.add_typer(commands.app)


def main() -> None:
    """Entry point: errors become a message on standard error and an exit status."""
    stamina.instrumentation.set_on_retry_hooks([])  # only the last outcome is reported, not each retry
    try:
        app()
    except ApiError as error:
        _print_problem(error)
        sys.exit(WRONG if error.problem.status < 500 else UNREACHABLE)
    except (NoStackRuns, DownloadError) as error:
        fail(str(error), WRONG)
    except ValidationError as error:
        if error.title != "Settings":
            raise
        _print_settings(error)
        sys.exit(WRONG)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        fail(f"the port is taken: {error}", WRONG)
    except (Unreachable, stack.StackError) as error:
        fail(f"could not reach the service: {error}", UNREACHABLE)


def _print_settings(error: ValidationError) -> None:
    for item in error.errors():
        # Where no single setting is at fault, the input is all of them, secrets too.
        got = f"got {item['input']!r}: " if item["loc"] else ""
        name = "_".join(["robxfer", *map(str, item["loc"])]).upper() + ("" if item["loc"] else "_*")
        errors.print(f"{name}: {got}{item['msg']}", style="red")


def _print_problem(error: ApiError) -> None:
    problem = error.problem
    # The list of errors says all that the detail does.
    message = f"{problem.title}: {problem.detail}" if problem.detail and not problem.errors else problem.title
    errors.print(message, style="red")
    for item in problem.errors:
        errors.print(f"  {item.at or 'spec'}: got {item.got}; takes {item.takes}")


if __name__ == "__main__":
    main()
