"""Which service a command talks to: a server by URL, the running embedded stack, or one started for the command."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from robxfer_core.client import Client, Unreachable

from . import stack
from .options import ServiceOptions
from .paths import read_file

Need = Literal["worker", "api", "running"]
"""What a command needs of the embedded stack: a worker, the API alone, or that the stack runs already."""


class NoStackRuns(Exception):
    """No embedded stack runs, and the command would not wait for one that it started."""


@contextmanager
def connect(options: ServiceOptions, need: Need) -> Iterator[Client]:
    """Opens a client of the service that the options name.

    Args:
        options: A server's URL, or the data folder of the embedded stack.
        need: Where no embedded stack runs, `worker` starts the whole stack and `api` the API alone, for the length
            of the block.

    Yields:
        The client.

    Raises:
        NoStackRuns: `need` is `running`, and no stack runs.
        stack.StackError: The stack did not start.
        Unreachable: The service does not answer.
    """
    token = options.token or _token_in_file()
    if options.server:
        with Client(options.server, token) as client:
            yield client
        return
    data_dir = options.data_dir.absolute()
    with ExitStack() as own:
        url = stack.running(data_dir)
        if url is None and need == "running":
            raise NoStackRuns(
                f"no stack runs in {data_dir}: start one with `robxfer up`, or submit and wait with "
                "`robxfer run` or `robxfer submit --wait`"
            )
        if url is None:
            try:
                url = own.enter_context(stack.started(data_dir, worker=need == "worker"))
            except stack.Held:  # another command started one at the same moment; both can use it
                url = stack.running(data_dir)
                if url is None:
                    raise
        with Client(url, token) as client:
            try:
                yield client
            except Unreachable as error:
                if stack.running(data_dir) is not None:
                    raise
                raise Unreachable(
                    f"{error}. The stack in {data_dir} has ended, perhaps with the command that had started it; "
                    "nothing is lost, and the same command again goes on"
                ) from error


def _token_in_file() -> str | None:
    file = os.environ.get("ROBXFER_TOKEN_FILE")
    return read_file(Path(file)).decode().strip() if file else None
