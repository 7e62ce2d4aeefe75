"""/readyz names what is missing: each server in turn is ended, or falls silent, and comes back."""

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.service import killable
from tests.service.servers import free_ports, until

pytestmark = pytest.mark.servers

KEYS = ("tester", "a-secret-of-the-test")


class Servers:
    """What a service needs, each on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.postgresql, self.database_url = killable.postgresql(folder / "pg", free_ports(1)[0])
        self.valkey, self.broker_url = killable.valkey(folder / "valkey", free_ports(1)[0])
        self.seaweedfs, self.endpoint = killable.seaweedfs(folder / "s3", free_ports(8), *KEYS, "robxfer-test")
        config = folder / "s3/s3.json"
        known = json.loads(config.read_text())
        for name, actions in (("writer", ["Read", "Write", "List"]), ("reader", ["Read", "List"])):
            keys = [{"accessKey": name, "secretKey": KEYS[1]}]
            known["identities"].append({"name": name, "credentials": keys, "actions": actions})
        config.write_text(json.dumps(known))
        self.all = [self.postgresql, self.valkey, self.seaweedfs]

    def settings(self, **others: Any) -> dict[str, Any]:
        return {
            "database_url": self.database_url,
            "broker_url": self.broker_url,
            "store_url": "s3://robxfer-test/kept",
            "s3_endpoint": self.endpoint,
            "s3_access_key": KEYS[0],
            "s3_secret_key": KEYS[1],
            "s3_secure": False,
            **others,
        }


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    # Not in pytest's folder, which another run may close to the user that PostgreSQL runs as.
    folder = Path(tempfile.mkdtemp(prefix="robxfer-ready-"))
    made = Servers(folder)
    try:
        for each in made.all:
            each.start()
        yield made
    finally:
        for each in made.all:
            each.kill()
        shutil.rmtree(folder, ignore_errors=True)


def lacking(service: Any) -> dict[str, str]:
    answer = httpx2.get(f"{service.url}/readyz", timeout=30)
    found = answer.json()
    assert answer.status_code == (200 if found["ok"] else 503)
    assert found["ok"] == (not found["missing"])
    assert "127.0.0.1" not in answer.text
    return found["missing"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            {"store_url": "s3://robxfer-other/kept", "s3_access_key": "writer"},
            "AccessDenied",
        ),  # how this one says NoSuchBucket
        ({"s3_access_key": "reader"}, "AccessDenied"),
        ({"s3_secret_key": "wrong"}, "SignatureDoesNotMatch"),
    ],
)
def test_a_store_that_cannot_be_written_is_named(
    servers: Servers, tmp_path: Path, serve: Callable[..., Any], wrong: dict[str, Any], told: str
) -> None:
    with serve(tmp_path / "data", **servers.settings(**wrong)) as service:
        until(lambda: lacking(service) == {"store": f"cannot be used ({told})"})  # a busy machine may answer too late


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, serve: Callable[..., Any]) -> None:
    with serve(tmp_path / "data") as service:
        until(lambda: lacking(service) == {})
        (tmp_path / "data/store/readyz/probe").unlink()
        (tmp_path / "data/store/readyz").rmdir()
        (tmp_path / "data/store/readyz").write_text("in the way")
        until(lambda: lacking(service) == {"store": "cannot be used (FileExistsError)"})


def test_those_that_are_silent_are_named_in_time_and_hold_up_nothing_else(
    servers: Servers, tmp_path: Path, serve: Callable[..., Any]
) -> None:
    with serve(tmp_path / "data", **servers.settings()) as service:
        until(lambda: lacking(service) == {})
        commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in killable.descendants(os.getpid())}
        silent = [pid for pid, command in commands.items() if b"postgres" in command or b"weed" in command]
        for pid in silent:
            os.kill(pid, signal.SIGSTOP)
        try:
            told = "does not answer within 5 s"
            until(lambda: lacking(service) == {"database": told, "store": told})
        finally:
            for pid in silent:
                os.kill(pid, signal.SIGCONT)
        until(lambda: lacking(service) == {})


def test_each_server_that_ends_is_named_until_it_is_back(
    servers: Servers, tmp_path: Path, serve: Callable[..., Any]
) -> None:
    with serve(tmp_path / "data", **servers.settings()) as service:
        for what, server in {"database": servers.postgresql, "broker": servers.valkey}.items():
            server.kill()
            until(lambda what=what: lacking(service).keys() == {what})  # on a busy machine others may be slow
            server.start()
            until(lambda: lacking(service) == {})
        servers.seaweedfs.kill()  # whose return takes long
        until(lambda: lacking(service).keys() == {"store"})
