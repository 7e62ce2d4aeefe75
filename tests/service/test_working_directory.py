"""No process of ours imports from its working directory: each entry point, among files named as modules are."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from robxfer_core.client import Client

from . import servers
from .planted import plant
from .servers import PATIENCE_S, children_of, until

pytestmark = pytest.mark.servers

ROBXFER = Path(sysconfig.get_path("scripts")) / "robxfer"
TRAIN = {"kind": "train", "dataset": "digits", "arch": {"name": "cnn", "width": 0.25}, "epochs": 1}
JOBS = {
    "digits": {"kind": "dataset", "name": "digits", "max_train": 100, "max_test": 20},
    "alone": TRAIN,
    "pair": TRAIN | {"seed": 1, "run": {"gpus": 2}},
}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A working directory full of such files, none of which has been imported at the end of the test."""
    folder = tmp_path / "place"
    witness = plant(folder)
    (folder / "spec.json").write_text(json.dumps({"name": "planted", "jobs": JOBS}))
    yield folder
    assert not witness.exists(), witness.read_text()


def environment(**settings: str) -> dict[str, str]:
    """That of a user who has set nothing but these."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("ROBXFER_", "PYTHON"))}
    return own | {f"ROBXFER_{name.upper()}": value for name, value in settings.items()}


def robxfer(place: Path, *words: str, **settings: str) -> str:
    """Run a command to its end. What it printed."""
    done = subprocess.run(
        [ROBXFER, *words], cwd=place, env=environment(**settings), capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def service(place: Path, *words: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs until it is told to end."""
    log = place / f"{words[0]}.log"
    with log.open("wb") as file:
        process = subprocess.Popen([ROBXFER, *words], cwd=place, env=environment(**settings), stdout=file, stderr=file)
    try:
        yield process
        assert process.poll() is None, log.read_text()
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()


def address(log: Path) -> str:
    """Where the API of this log listens, once it does."""
    line = until(lambda: log.exists() and [line for line in log.read_text().splitlines() if "listens on" in line])[0]
    return next(word for word in line.split() if word.startswith("http"))


def test_such_files_would_be_noticed(tmp_path: Path):
    witness = plant(tmp_path)
    command = [sys.executable, "-m", "robxfer_cli.main", "--help"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=PATIENCE_S)
    assert witness.exists()


def test_an_embedded_stack_started_by_a_command(place: Path):
    """The command, the stack, its API and worker, the fork server, a child, and torchrun's ranks."""
    robxfer(place, "run", "spec.json", "--out", "out", queues="cpu,cpu2", slots="1")
    assert (place / "out").is_dir()


def test_an_embedded_stack_that_stays_up(place: Path):
    with service(place, "up", "--port", "0", queues="cpu,cpu2", slots="1") as stack:
        address(place / "up.log")
        (worker,) = children_of(stack.pid)
        until(lambda: children_of(worker))  # its fork server
        robxfer(place, "submit", "spec.json", "--wait")


def test_services_of_their_own_and_what_an_operator_runs(place: Path):
    (place / "robxfer-data").mkdir()
    robxfer(place, "migrate")
    with service(place, "api", port="0"), service(place, "worker", queues="cpu,cpu2", slots="1"):
        url = address(place / "api.log")
        until(lambda: b'"ready"' in (place / "worker.log").read_bytes())
        robxfer(place, "submit", "spec.json", "--wait", "--server", url)
        robxfer(place, "worker", "--check")
        with Client(url) as client:
            assert {node.state for node in client.get(client.list().items[0].id).nodes} == {"done"}
    robxfer(place, "gc", "--older-than", "0")
    robxfer(place, "project", "create", "other")
    robxfer(place, "token", "create", "someone", "--project", "other")


def test_modules_that_stand_for_a_command(place: Path):
    """By -P, as the stack starts them."""
    command = [sys.executable, "-P", "-m", "robxfer_worker.main"]
    (place / "robxfer-data").mkdir()
    own = environment()
    subprocess.run([sys.executable, "-P", "-m", "robxfer_cli.main", "migrate"], cwd=place, env=own, check=True)
    with (place / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=place, env=own, stdout=log, stderr=log)
    worker = servers.Worker(process, place / "worker.log")
    try:
        until(worker.ready)
        assert worker.drain() == 0
    finally:
        worker.kill()
