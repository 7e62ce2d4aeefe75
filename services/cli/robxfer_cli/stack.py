"""The embedded stack: API and worker of one data folder, with SQLite, a folder as broker and a folder as store.

`stack.lock` is held by the process that runs the whole stack, and `stack.json` beside it says where it listens. What a
command starts for itself ends when the command does: the stack's standard input is a pipe from its starter.
"""

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PYTHON = (sys.executable, "-P", "-m")
"""Starts a module of ours. By -P nothing is imported from the working directory, where a user's files lie."""
START_S = 120.0
LOCK_S = 1.0  # for which one that starts waits, since whoever looks whether one runs holds the lock for a moment
STOP_S = 40.0  # longer than the grace that a worker gives its children


class StackError(Exception):
    """The embedded stack could not be started; the message says why and where its log is."""


class Held(StackError):
    """Another process has just started the stack of the folder."""


def running(data_dir: Path) -> str | None:
    """Where the stack of this data folder listens; None where none runs. Waits for one that is starting."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with _lock(data_dir) as free:
            if free:
                return None
        try:
            return str(json.loads((data_dir / "stack.json").read_text())["url"])
        except FileNotFoundError:
            time.sleep(0.1)  # it holds the lock and is still starting, or ending
    raise StackError(f"the stack that holds {data_dir / 'stack.lock'} does not say where it listens")


@contextmanager
def started(data_dir: Path, worker: bool) -> Iterator[str]:
    """A stack of our own (without worker: the API alone), ended when the block is left. Yields where it listens."""
    command = [*PYTHON, "robxfer_cli.stack", "--data-dir", str(data_dir), *(["--worker"] if worker else [])]
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "stack.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield _await_ready(process, process.stdout, data_dir)
    finally:
        process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _await_ready(process: subprocess.Popen[bytes], answers: IO[bytes], data_dir: Path) -> str:
    late = threading.Timer(START_S, process.kill)
    late.start()
    try:
        line = answers.readline()
    finally:
        late.cancel()
    answer = json.loads(line) if line else {"error": f"it ended with status {process.wait()}"}
    if "url" not in answer:
        refusal = Held if answer.get("held") else StackError
        raise refusal(f"the embedded stack did not start: {answer['error']} (its log: {data_dir / 'stack.log'})")
    return str(answer["url"])


def host(data_dir: Path, worker: bool, port: int, announce: Any) -> None:
    """Run the stack in this process until SIGTERM, SIGINT or, where it is a pipe, the end of standard input.

    announce: called with {"url": ...} once requests are answered, or {"error": ...}; `held` is in it where another
    process runs the stack of the folder.
    """
    os.environ["ROBXFER_DATA_DIR"] = str(data_dir)
    from robxfer_api.serve import serve
    from robxfer_core.ledger.migrate import upgrade
    from robxfer_core.settings import Settings

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)  # the server raises its signal again when it has ended: clean up all the same
    data_dir.mkdir(parents=True, exist_ok=True)
    settings = Settings(port=port)
    with _lock(data_dir, LOCK_S) if worker else _no_lock() as held:
        if not held:
            announce({"error": f"another stack holds {data_dir / 'stack.lock'}", "held": True})
            return
        if worker:
            (data_dir / "stack.json").unlink(missing_ok=True)  # of one that was killed: it listens there no more
        upgrade(settings.database_url)
        stop, working = threading.Event(), threading.Event()
        keeper = threading.Thread(target=_keep_worker, args=(data_dir, stop, working), daemon=True) if worker else None

        def ready(url: str) -> None:
            if worker:
                working.wait(START_S)  # until it has said which data sets it reads, specs cannot be checked
                _write(data_dir / "stack.json", {"url": url, "pid": os.getpid()})
            announce({"url": url, "access": settings.access})

        if keeper:
            keeper.start()
        try:
            with (data_dir / "api.log").open("a", buffering=1) as log:
                serve(settings, ready, log)
        finally:
            stop.set()
            if keeper:
                (data_dir / "stack.json").unlink(missing_ok=True)
                keeper.join(STOP_S)


def _leave(number: int, frame: Any) -> None:
    raise SystemExit(0)


def _keep_worker(data_dir: Path, stop: threading.Event, working: threading.Event) -> None:
    """Run a worker, and another where it dies, until told to stop. `working` is set once the first takes jobs."""
    while not stop.is_set():
        with (data_dir / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                [*PYTHON, "robxfer_cli.embedded_worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        assert worker.stdin is not None
        ended = threading.Event()
        threading.Thread(target=_await_end, args=(worker, working, ended), daemon=True).start()
        while not ended.wait(0.2) and not stop.is_set():
            pass
        worker.stdin.close()  # its end tells the worker to drain
        if not ended.wait(STOP_S):
            worker.kill()
            worker.wait()
        stop.wait(1.0 if worker.returncode else 0.0)


def _await_end(worker: subprocess.Popen[bytes], working: threading.Event, ended: threading.Event) -> None:
    assert worker.stdout is not None
    with worker.stdout as said:
        for _ in said:
            working.set()
    worker.wait()
    working.set()  # one that cannot start must not keep the API waiting: its jobs say that no worker takes them
    ended.set()


@contextmanager
def _lock(data_dir: Path, patience: float = 0.0) -> Iterator[bool]:
    """Whether this process holds the lock of the folder's stack; given back when the block is left."""
    data_dir.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    with (data_dir / "stack.lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    yield False
                    return
            time.sleep(0.05)
        yield True


@contextmanager
def _no_lock() -> Iterator[bool]:
    yield True


def _write(path: Path, value: dict[str, Any]) -> None:
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_text(json.dumps(value))
    aside.replace(path)


def _end_with_stdin() -> None:
    """End this process, as if by SIGTERM, when its starter closes the pipe or dies."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -P -m robxfer_cli.stack", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--worker", action="store_true")
    options = parser.parse_args()
    _end_with_stdin()

    def announce(answer: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()

    try:
        host(options.data_dir, options.worker, port=0, announce=announce)
    except Exception as error:
        announce({"error": f"{type(error).__name__}: {error}"})
        raise


if __name__ == "__main__":
    main()
