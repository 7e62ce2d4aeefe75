"""An attempt while its files move: what a worker does then when the job has to end, or the store is out of reach."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from robxfer_core.ledger import experiments, queue
from robxfer_core.ledger.engine import write
from robxfer_core.ledger.tables import jobs
from robxfer_core.storage import Unavailable
from robxfer_core.storage.folder import FolderStore
from robxfer_core.storage.store import StopCheck, never_stop
from robxfer_worker.cache import Cache
from robxfer_worker.context import House, Slot
from robxfer_worker.forkserver import ForkServer
from robxfer_worker.shutdown import Drain
from robxfer_worker.supervisor import supervise

from .servers import PATIENCE_S, until
from .stack import LONG, Stack

pytestmark = pytest.mark.servers

HOUR = 3600  # seconds


class Slow(FolderStore):
    """A store in which what has `slow` in its name does not move until it may."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.slow = "nothing"
        self.asked, self.may = threading.Event(), threading.Event()

    def _waiting(self, name: str) -> Iterator[bytes]:
        while self.slow in name and not self.may.is_set():
            self.asked.set()
            self.may.wait(0.01)
            yield b""

    def put(self, name: str, path: Path, check: StopCheck = never_stop) -> None:
        for _ in self._waiting(name):
            check()
        super().put(name, path, check)

    def stream(self, name: str) -> Iterator[bytes]:
        yield from self._waiting(name)
        yield from super().stream(name)


class Away(FolderStore):
    """A store that is out of reach for as long as `away` says so, which is asked at each put."""

    away: Callable[[], bool]

    def put(self, name: str, path: Path, check: StopCheck = never_stop) -> None:
        if self.away():
            raise Unavailable("it is away")
        super().put(name, path, check)


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServer]:
    forks = ForkServer(1)
    forks.start()
    forks.child().close()  # once it answers it has loaded everything
    yield forks
    forks.stop()


class Place:
    """A worker's house of one slot, without its worker."""

    def __init__(self, stack: Stack, forks: ForkServer, store: FolderStore) -> None:
        self.stack, self.drain = stack, Drain()
        self.store: Any = store
        work = stack.folder / "work/0"
        work.mkdir(parents=True)
        cache = Cache(stack.folder / "cache/0", 10**9)
        self.house = House(stack.settings, stack.engine, store, cache, forks, work, self.drain)

    def claim(self) -> queue.Claim:
        claim = queue.claim(self.stack.engine, "w", ["cpu"], self.stack.settings.lease_s, "cpu")
        assert claim is not None
        return claim

    def run(self) -> str | None:
        """Claim the next job and run it. How it ended."""
        return supervise(self.house, self.claim(), Slot(0))


@pytest.fixture
def place(make_stack: Callable[..., Stack], forks: ForkServer) -> Callable[..., Place]:
    def make(kind: type[FolderStore], **settings: Any) -> Place:
        stack = make_stack(wanted_s=0.1, **settings)
        return Place(stack, forks, kind(stack.folder / "store"))

    return make


@contextlib.contextmanager
def running(place: Place) -> Iterator[Future[str | None]]:
    """The next job, in a thread. A store that is left waiting is let go at the end."""
    with ThreadPoolExecutor(1) as threads:
        try:
            yield threads.submit(place.run)
        finally:
            place.store.may.set()


@pytest.mark.parametrize("moves", ["dataset.json", "model.safetensors", "checkpoint-1"])
def test_a_cancel_frees_the_slot_while_files_move(place, moves):
    """An input on its way to the job, its result on its way from it, and a checkpoint."""
    place = place(Slow)
    experiment = place.stack.submit(**(LONG if "checkpoint" in moves else {}))
    assert place.run() == "succeeded"
    place.store.slow = moves
    with running(place) as ended:
        assert place.store.asked.wait(PATIENCE_S)
        experiments.cancel(place.stack.engine, "default", experiment)
        assert ended.result(PATIENCE_S) == "stopped"


def test_a_job_of_a_later_version_fails_with_what_to_do(place):
    """An old worker beside a new API."""
    place = place(FolderStore)
    experiment = place.stack.submit()
    with write(place.stack.engine) as connection:
        connection.execute(update(jobs).where(jobs.c.kind == "dataset").values(kind="of_another_version"))
    assert place.run() == "failed"
    error = place.stack.job(experiment, "digits").error
    assert "knows no jobs of kind of_another_version: update the worker" in error["message"]


def test_a_drain_reaches_the_child_while_a_checkpoint_is_on_its_way(place):
    place = place(Slow, grace_s=60.0)
    experiment = place.stack.submit(**LONG)
    assert place.run() == "succeeded"
    place.store.slow = "checkpoint-1"
    with running(place) as ended:
        assert place.store.asked.wait(PATIENCE_S)
        (folder,) = place.house.work.iterdir()
        place.drain.set()
        until(lambda: not working_in(folder))  # the child has heard of it, has written its last checkpoint, and ended
        assert not ended.done()
        last = max(int(path.name.removeprefix("checkpoint-")) for path in folder.glob("checkpoint-*"))
        assert last > 1  # at each interval it has written one, and one more at its end
        place.store.may.set()
        assert ended.result(PATIENCE_S) == "preempted"
    assert place.stack.job(experiment).checkpoint["prefix"].endswith(f"/checkpoint-{last}")


def working_in(folder: Path) -> bool:
    """Whether a process has this as its working directory."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/cwd") == str(folder):
                return True
    return False


def test_a_drain_waits_for_files_no_longer_than_its_grace(place):
    place = place(Slow, grace_s=0.5)
    place.stack.submit(**LONG)
    assert place.run() == "succeeded"
    place.store.slow = "checkpoint-1"
    with running(place) as ended:
        assert place.store.asked.wait(PATIENCE_S)
        place.drain.set()
        assert ended.result(PATIENCE_S) == "preempted"


def test_a_result_is_kept_though_its_deadline_passes_or_its_worker_drains_while_the_store_is_away(place, monkeypatch):
    """The supervisor's clock is turned past the deadline, so that no machine is too slow to compute before it."""
    place = place(Away, grace_s=3 * HOUR)
    place.stack.submit(epochs=0, run={"deadline_s": HOUR})
    answers = iter([True, True])
    passed = 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed, sleep=time.sleep)
    monkeypatch.setattr("robxfer_worker.supervisor.time", clock)

    def away() -> bool:
        nonlocal passed
        passed = 2 * HOUR
        place.drain.set()
        return next(answers, False)

    place.store.away = away
    assert place.run() == "succeeded"


def test_a_result_is_given_up_when_the_grace_of_a_drain_is_over(place):
    place = place(Away, grace_s=0.5)
    place.stack.submit(epochs=0)
    place.store.away = lambda: not place.drain.set()
    assert place.run() == "preempted"
