"""The embedded stack while it runs: kept up, cancelled and retried, interrupted and gone on with."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .commands import command, robxfer
from .servers import PATIENCE_S, alive, children_of, until

pytestmark = pytest.mark.servers


@contextmanager
def up(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The embedded stack in the foreground of a process of its own, once it answers."""
    stack = folder / "data" / "stack.json"
    stack.parent.mkdir()
    stack.write_text('{"url": "http://127.0.0.1:9", "pid": 1}')  # left by one that was killed
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(command(folder, "up", "--port", "0"), stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: stack.exists() and json.loads(stack.read_text())["pid"] != 1)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_up_restarts_a_dead_worker_and_ends_whole(tmp_path: Path):
    with up(tmp_path) as stack:
        said = until(lambda: (tmp_path / "up.log").read_text())
        assert "listens on http://127.0.0.1:" in said
        assert "open to this machine alone" in said
        assert "checks the Host header" in said
        (worker,) = children_of(stack.pid)
        os.kill(worker, signal.SIGKILL)
        restarted = until(lambda: [pid for pid in children_of(stack.pid) if pid != worker])
        digits = {"kind": "dataset", "name": "digits", "max_train": 50, "max_test": 20}
        (tmp_path / "one.json").write_text(json.dumps({"name": "one", "jobs": {"digits": digits}}))
        done = robxfer(tmp_path, "submit", "one.json", "--wait", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
    assert stack.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
    assert not alive(restarted[0])
    assert not (tmp_path / "data" / "stack.json").exists()


def test_submit_cancel_retry_and_watch(tmp_path: Path):
    jobs: dict[str, Any] = {"digits": {"kind": "dataset", "name": "digits"}}
    jobs["long"] = {"kind": "train", "dataset": "digits", "arch": {"name": "cnn"}, "epochs": 10_000}
    (tmp_path / "long.json").write_text(json.dumps({"name": "long", "jobs": jobs}))
    with up(tmp_path):
        submitted = robxfer(tmp_path, "submit", "long.json")
        assert submitted.returncode == 0, submitted.stderr
        id = submitted.stdout.strip()

        def states() -> dict[str, str]:
            nodes = json.loads(robxfer(tmp_path, "show", id, "--json").stdout)["nodes"]
            return {node["name"]: node["state"] for node in nodes}

        until(lambda: states()["long"] == "running")
        for _ in range(2):  # the second changes nothing
            assert robxfer(tmp_path, "cancel", id).returncode == 0
        until(lambda: states() == {"digits": "done", "long": "cancelled"})
        watched = robxfer(tmp_path, "watch", id)
        assert watched.returncode == 1
        assert "cancelled" in watched.stdout
        assert robxfer(tmp_path, "retry", id).returncode == 0
        until(lambda: states()["long"] == "running")
        assert robxfer(tmp_path, "cancel", id).returncode == 0


def test_an_interrupted_run_says_how_to_go_on_and_goes_on(tmp_path: Path):
    digits = {"kind": "dataset", "name": "digits", "max_train": 100, "max_test": 20}
    train = {"kind": "train", "dataset": "digits", "arch": {"name": "cnn", "width": 0.25}, "epochs": 2000}
    (tmp_path / "two.json").write_text(json.dumps({"name": "two", "jobs": {"digits": digits, "model": train}}))
    following = subprocess.Popen(
        command(tmp_path, "run", "two.json", "--out", "out"),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A shell that runs the tests in its background has them, and all they start, ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert following.stdout is not None
    said = b""
    while b"digits: done" not in said:  # the model is next
        line = following.stdout.readline()
        assert line, said
        said += line
    following.send_signal(signal.SIGINT)
    rest, _ = following.communicate(timeout=PATIENCE_S)
    assert following.returncode == 130
    told = (said + rest).decode()
    id = next(word for word in told.replace("`", " ").split() if word.startswith("exp_"))
    assert f"robxfer watch {id}" in told
    watched = robxfer(tmp_path, "watch", id)
    assert watched.returncode == 0, watched.stdout + watched.stderr
