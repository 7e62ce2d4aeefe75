"""Files go through the API in constant memory, up and down, whichever the store."""

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from robxfer_core.ledger import migrate, queue
from robxfer_core.ledger.attempts import Fence
from robxfer_core.ledger.engine import connect, read
from robxfer_core.ledger.tables import artifacts
from robxfer_core.settings import Settings
from robxfer_core.spec.records import FileEntry, Manifest
from robxfer_core.storage import open_store

from . import servers

pytestmark = pytest.mark.servers

MIB = 1 << 20
PIECE = os.urandom(MIB)


def pieces(count: int) -> Iterator[bytes]:
    """A MiB of random bytes, that many times, each with its number."""
    for number in range(count):
        yield number.to_bytes(8, "big") + PIECE[8:]


def sha256(count: int) -> str:
    digest = hashlib.sha256()
    for piece in pieces(count):
        digest.update(piece)
    return digest.hexdigest()


@contextmanager
def api(settings: Settings) -> Iterator[tuple[int, str]]:
    """The API in a process of its own: its process id and its URL."""
    told = {f"ROBXFER_{name.upper()}": servers._text(value) for name, value in settings if value is not None}
    own = {name: value for name, value in os.environ.items() if not name.startswith("ROBXFER_")}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "robxfer_cli.main", "api"], env=own | told, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.pid, process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait(servers.PATIENCE_S)


def resident(pid: int, what: str = "VmRSS") -> int:
    """MiB that the process holds, or (VmHWM) held at the most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) >> 10


@contextmanager
def grows_by_less(pid: int, limit: int) -> Iterator[None]:
    """Hold the process to at most so many MiB above what it has now, at any moment."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the highest mark begins anew
    before = resident(pid)
    yield
    grown = resident(pid, "VmHWM") - before
    assert grown < limit, f"{grown} MiB more than the {before} MiB before"


@pytest.mark.parametrize("store", ["folder", "s3"])
@pytest.mark.parametrize("size", [256, pytest.param(2048, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_files_stream_both_ways_in_constant_memory(tmp_path: Path, store: str, size: int) -> None:
    with contextlib.ExitStack() as running:
        given: dict[str, Any] = {"data_dir": tmp_path / "data", "port": 0, "access": "open"}
        if store == "s3":
            kept = running.enter_context(servers.s3(tmp_path / "s3")).settings()
            given |= kept | {"s3_public_endpoint": ""}  # so that files go through the API
        settings = Settings(**given)
        settings.data_dir.mkdir()
        migrate.upgrade(settings.database_url)
        pid, url = running.enter_context(api(settings))
        http = running.enter_context(httpx2.Client(base_url=url, timeout=600))
        engine = connect(settings.database_url)
        running.callback(engine.dispose)

        def send(count: int) -> str:
            headers = {"Content-Type": "application/octet-stream"}
            answer = http.post("/v1/datasets?name=big", content=pieces(count), headers=headers)
            assert answer.status_code == 202, answer.text
            return answer.json()["upload"]

        def take(artifact: str) -> str:
            digest = hashlib.sha256()
            with http.stream("GET", f"/v1/artifacts/{artifact}/files/big.bin") as answer:
                assert answer.status_code == 200
                for piece in answer.iter_bytes(MIB):
                    digest.update(piece)
            return digest.hexdigest()

        send(2)
        with grows_by_less(pid, 64):
            assert send(size) == sha256(size)
        for count in (2, size):  # results of the import jobs, as a worker would leave them
            claim = queue.claim(engine, "w", ["cpu"], 600.0, "cpu")
            assert claim is not None
            open_store(settings.store_url, settings).write(f"{claim.prefix}/big.bin", pieces(count))
            files: list[FileEntry] = [{"path": "big.bin", "size": count * MIB, "sha256": sha256(count)}]
            manifest: Manifest = {"files": files, "type": "dataset", "kind": claim.kind, "key": claim.key}
            assert Fence(engine, claim.job_id, claim.attempt).publish("dataset", manifest)
        with read(engine) as connection:
            small, big = connection.scalars(select(artifacts.c.id).order_by(artifacts.c.bytes)).all()
        take(small)
        with grows_by_less(pid, 64):
            assert take(big) == sha256(size)
