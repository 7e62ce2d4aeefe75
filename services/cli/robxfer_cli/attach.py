"""Which service a command talks to: a server by URL, the running embedded stack, or one started for the command."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from robxfer_core.client import Client

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
    url = stack.running(target.data_dir)
    if url is not None:
        with Client(url, target.token) as client:
            yield client
    elif need == "running":
        raise NothingRuns(
            f"no stack runs in {target.data_dir}: start one with `robxfer up`, or hand in and wait with "
            "`robxfer run` or `robxfer submit --wait`"
        )
    else:
        with stack.started(target.data_dir, worker=need == "worker") as own, Client(own, target.token) as client:
            yield client
