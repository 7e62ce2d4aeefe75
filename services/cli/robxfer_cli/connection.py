"""Which service a command talks to: a server by URL, the running embedded stack, or one started for the command."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from robxfer_core.client import Client, Unreachable

from . import stack

Need = Literal["worker", "api", "running"]


@dataclass(frozen=True)
class Target:
    """What the options --server, --token and --data-dir say."""

    server: str | None
    token: str | None
    data_dir: Path


class NothingRuns(Exception):
    """A command that hands in work without waiting for it found no service that would do it."""


@contextmanager
def service(target: Target, need: Need) -> Iterator[Client]:
    """A client of the service.

    Where no embedded stack runs, `worker` starts all of it and `api` the API alone, for the length of the block;
    `running` raises NothingRuns.
    """
    if target.server:
        with Client(target.server, target.token) as client:
            yield client
        return
    with ExitStack() as own:
        url = stack.running(target.data_dir)
        if url is None and need == "running":
            raise NothingRuns(
                f"no stack runs in {target.data_dir}: start one with `robxfer up`, or hand in and wait with "
                "`robxfer run` or `robxfer submit --wait`"
            )
        if url is None:
            try:
                url = own.enter_context(stack.started(target.data_dir, worker=need == "worker"))
            except stack.Held:  # by a command that looked at the same moment: its stack does for both
                url = stack.running(target.data_dir)
                if url is None:
                    raise
        with Client(url, target.token) as client:
            try:
                yield client
            except Unreachable as error:
                if stack.running(target.data_dir) is not None:
                    raise
                raise Unreachable(
                    f"{error}. The stack in {target.data_dir} has ended, perhaps with the command that had started it; "
                    "nothing is lost, and the same command again goes on"
                ) from error
