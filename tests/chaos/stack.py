"""The stack that chaos is made in: real servers, the API and two workers, each of which can end and start again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import urllib3

from robxfer_core.client import Client
from robxfer_core.ledger import migrate
from robxfer_core.settings import Settings
from tests.service import servers
from tests.service.killable import RABBITMQ, Server, descendants, postgresql, rabbitmq, seaweedfs, valkey

from .plan import WORKERS
from .worker import HOLDS, UNFENCED

HURRIED = {
    "slots": 2,
    "queues": ["cpu", "cpu2"],
    "lease_s": 3.0,
    "wanted_s": 0.3,
    "flush_s": 0.3,
    "sweep_s": 0.5,
    "heartbeat_s": 1.0,
    "checkpoint_s": 0.4,
    "grace_s": 3.0,
}


class Stack:
    """All of it in a folder, by which its processes are known: it is their TMPDIR, which children inherit."""

    def __init__(self, folder: Path, broker: str, fenced: bool) -> None:
        self.folder, self.holds, self._fenced = folder, folder / "holds", fenced
        ports = iter(servers.free_ports(14))
        self.holds.mkdir(parents=True)
        self.database, database_url = postgresql(folder / "database", next(ports))
        keys = ("chaos", "a-secret-of-the-test", "chaos")
        self.store, endpoint = seaweedfs(folder / "store", [next(ports) for _ in range(8)], *keys)
        self._epmd: Server | None = None
        if broker == "rabbitmq":
            if not RABBITMQ.exists():
                raise SystemExit(f"{RABBITMQ} is not there: install rabbitmq-server, or take --broker valkey")
            self._epmd, self.broker, broker_url = rabbitmq(folder / "broker", [next(ports) for _ in range(3)])
        else:
            self.broker, broker_url = valkey(folder / "broker", next(ports))
        self.settings = Settings(
            data_dir=folder / "data",
            database_url=database_url,
            broker_url=broker_url,
            port=next(ports),
            access="open",
            **servers.S3(endpoint, *keys).settings(),
            **HURRIED,
        )
        self.url = f"http://127.0.0.1:{self.settings.port}"
        command = [sys.executable, "-P", "-m", "robxfer_cli.main", "api"]
        (folder / "api").mkdir()
        self.api = Server(folder / "api", command, self._api_answers, servers.told(self.settings))
        self.workers: list[servers.Worker] = []
        self.fallen: list[str] = []
        """What ended though nobody ended it."""

    def start(self) -> None:
        for server in (self.database, self.store, self._epmd, self.broker):
            if server is not None:
                server.start()
        migrate.upgrade(self.settings.database_url)
        self.api.start()
        self.workers = [self._start_worker() for _ in range(WORKERS)]
        for worker in self.workers:
            servers.until(worker.ready)

    def client(self) -> Client:
        return Client(self.url, timeout=10.0)

    def restart_worker(self, number: int) -> None:
        """Start another in place of the one that ended."""
        self.workers[number] = self._start_worker()

    def _start_worker(self) -> servers.Worker:
        told = {"TMPDIR": str(self.folder), HOLDS: str(self.holds)} | ({} if self._fenced else {UNFENCED: "1"})
        return servers.start_worker(self.settings, self.folder / "workers", "tests.chaos.worker", **told)

    def mend(self) -> None:
        """Start again what has fallen, as whatever runs a service would."""
        for name in ("database", "store", "broker", "api"):
            server: Server = getattr(self, name)
            if not server.running():
                self.fallen.append(f"{name}: {server.log.read_text()[-500:]}")
                server.start()
        for number, worker in enumerate(self.workers):
            if worker.process.poll() is not None:
                self.fallen.append(f"worker: {worker.log.read_text()[-500:]}")
                self.restart_worker(number)

    def children(self) -> set[int]:
        """The jobs' processes: those of the fork servers and of whatever is left of these."""
        servants = {child for worker in self.workers for child in servers.children_of(worker.process.pid)}
        return {pid for pid in self.processes() if _is_fork(pid)} - servants

    def children_of(self, worker: int) -> set[int]:
        """The jobs' processes of one worker, by its process id."""
        return self.processes() & {pid for server in servers.children_of(worker) for pid in descendants(server)}

    def processes(self) -> set[int]:
        """Living processes of workers, fork servers, children, and whatever these started."""
        mark = f"TMPDIR={self.folder}".encode()
        found = set()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0") and servers.alive(int(entry.name)):
                    found.add(int(entry.name))
            except OSError:  # it has ended, or is not ours
                continue
        return found

    def drain(self) -> None:
        """Ask the workers to end."""
        for worker in self.workers:
            worker.process.send_signal(signal.SIGCONT)
            worker.process.send_signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.process.wait(servers.PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.fallen.append(f"worker that did not end: {worker.log.read_text()[-500:]}")
                worker.kill()

    def stop(self) -> None:
        """End whatever of it still runs."""
        for worker in self.workers:
            worker.kill()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        for server in (self.api, self.broker, self._epmd, self.store, self.database):
            if server is not None:
                server.kill()

    def _api_answers(self) -> bool:
        try:
            return urllib3.request("GET", f"{self.url}/healthz", retries=False, timeout=2.0).status == 200
        except urllib3.exceptions.HTTPError:
            return False


def _is_fork(pid: int) -> bool:
    try:
        return b"robxfer_worker.forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
