"""A real API on a free port, with SQLite and a folder as store; tests play the worker by the ledger's own functions."""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Engine

from robxfer_api.serve import Server
from robxfer_core.client import Client
from robxfer_core.ledger import migrate, queue, tokens
from robxfer_core.ledger.attempts import Fence
from robxfer_core.ledger.engine import connect
from robxfer_core.ledger.ids import new_id
from robxfer_core.logs import log_to
from robxfer_core.settings import Settings
from robxfer_core.storage import ArtifactInfo, Store, open_store, publish_folder
from tests.service.servers import PATIENCE_S

DIGITS = {"shape": [1, 8, 8], "classes": 10, "train": 1348, "test": 449}
"""What a worker says of the set that it can read."""


def spec(name: str = "small", seeds: tuple[int, ...] = (0, 1), **more: Any) -> dict[str, Any]:
    """A spec of 1 + 4 jobs a seed + 1, each cheap to plan: data, models, evaluations, features, heads, report."""
    arch = {"name": "cnn", "width": 0.25}
    return {
        "name": name,
        "jobs": {
            "digits": {"kind": "dataset", "name": "digits"},
            "source": {
                "kind": "train",
                "dataset": "digits",
                "arch": arch,
                "epochs": 1,
                "matrix": {"seed": list(seeds)},
            },
            "levels": {"kind": "evaluate", "model": "source", "dataset": "digits", "eps": [0.0]},
            "features": {"kind": "features", "model": "source", "dataset": "digits"},
            "heads": {"kind": "transfer", "features": "features", "epochs": 2},
            "report": {
                "kind": "report",
                "title": "Small",
                "sources": "levels",
                "arms": [{"target": "digits", "variant": "standard", "transfers": "heads"}],
            },
        },
        **more,
    }


@dataclass
class Service:
    """A running API and what is behind it."""

    settings: Settings
    url: str
    server: Server
    engine: Engine
    store: Store
    scratch: Path
    published: int = field(default=0)

    def client(self, token: str | None = None) -> Client:
        return Client(self.url, token, timeout=30)

    def token(self, scope: str = "submit", name: str | None = None, project: str = "default", **more: Any) -> str:
        """A new token's secret."""
        return tokens.create(self.engine, project, name or f"{scope}-{new_id('n')}", scope, **more)[1]

    def submit(self, wanted: dict[str, Any], key: str | None = None) -> str:
        with self.client() as client:
            return client.submit(yaml.safe_dump(wanted).encode(), "yaml", key).id

    def claim(self) -> queue.Claim | None:
        return queue.claim(self.engine, "worker-1", ["cpu"], 60.0, "cpu")

    def publish(self, claim: queue.Claim, files: dict[str, bytes] | None = None) -> None:
        folder = self.scratch / f"out-{self.published}"
        self.published += 1
        for path, data in (files or outputs(claim)).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        manifest = publish_folder(
            self.store,
            queue.prefix_of(claim.project_id, claim.job_id, claim.attempt),
            folder,
            ArtifactInfo(claim.artifact_type, claim.kind, claim.key),
        )
        assert Fence(self.engine, claim.job_id, claim.attempt).publish(claim.artifact_type, manifest)

    def work(self) -> int:
        """Runs all that is ready, as a worker would; returns the number of jobs."""
        done = 0
        while (claim := self.claim()) is not None:
            self.publish(claim)
            done += 1
        return done


def outputs(claim: queue.Claim) -> dict[str, bytes]:
    files = {"result.json": b"{}"}
    if claim.kind == "transfer_gap_report":
        files["report.json"] = b'{"schema":1,"title":"Small","verdicts":[]}'
        files["report.html"] = b"<p>Small</p>"
    return files


@contextmanager
def served(folder: Path, **settings: Any) -> Iterator[Service]:
    configured = Settings(**{"data_dir": folder, "port": 0, "access": "open"} | settings)
    if not configured.database_url.startswith("sqlite") or not (folder / "ledger.sqlite").exists():
        folder.mkdir(exist_ok=True)
        migrate.upgrade(configured.database_url)
    engine = connect(configured.database_url)
    try:
        with listening(configured) as server:
            store = open_store(configured.store_url, configured)
            yield Service(configured, server.url, server, engine, store, folder)
    finally:
        engine.dispose()


@contextmanager
def listening(settings: Settings) -> Iterator[Server]:
    """The API, whatever its database is like."""
    listens = threading.Event()
    server = Server(settings, lambda url: listens.set())
    thread = threading.Thread(target=server.serve_until_stopped)
    thread.start()
    try:
        assert listens.wait(PATIENCE_S)
        yield server
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.fixture(scope="session", autouse=True)
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where all services of the run write their lines."""
    path = tmp_path_factory.mktemp("log") / "api.log"
    with path.open("a", buffering=1) as stream:
        log_to(stream)
        yield path
    log_to(sys.stderr)


@pytest.fixture
def service(tmp_path: Path, migrated_sqlite: Path) -> Iterator[Service]:
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(migrated_sqlite, folder / "ledger.sqlite")
    with served(folder) as running:
        yield running


@pytest.fixture
def service_on_both(tmp_path: Path, database_url: str) -> Iterator[Service]:
    """A service on SQLite and one on PostgreSQL."""
    with served(tmp_path / "data", database_url=database_url) as running:
        yield running


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    """For a test that needs a service with settings of its own."""
    return served


@pytest.fixture(scope="session")
def small() -> Callable[..., dict[str, Any]]:
    """Makes specs."""
    return spec


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Waits for a condition."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "what was waited for did not come"
            time.sleep(0.02)

    return wait
