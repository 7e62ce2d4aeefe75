"""The embedded stack in a process of its own, as `robxfer up` starts it, and the specs that the tests submit to it."""

import json
import os
import signal
import subprocess
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2

from robxfer_core.client import Client
from tests.service.servers import free_ports, until

ROBXFER = Path(sysconfig.get_path("scripts")) / "robxfer"
START_S = 120.0
HALF = 1 << 20
MARKUP = "<img/src=x/onerror=alert(1)>"
"""Without spaces, so that it can stand in a URL."""
DIGITS = {"kind": "dataset", "name": "digits", "size": 8, "max_train": 60, "max_test": 40}
ARCH = {"name": "cnn", "width": 0.25}


@dataclass
class Stack:
    """API, worker and web page of one data folder, on a port that stays the same when the stack is started again."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=lambda: free_ports(1)[0])
    token: str | None = None
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers, which it does once its worker takes jobs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "up.log").open("ab") as log:
            command = [ROBXFER, "up", "--port", str(self.port), "--data-dir", self.folder]
            process = subprocess.Popen(command, env=self._environment(), stdout=log, stderr=log, start_new_session=True)
        self._process = process

        def answers() -> bool:
            assert process.poll() is None, (self.folder / "up.log").read_text()[-4000:]
            try:
                return httpx2.get(f"{self.url}/healthz", timeout=START_S).status_code == 200
            except httpx2.TransportError:
                return False

        until(answers, START_S)

    def stop(self) -> None:
        """Ask it to end and wait until it has."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(START_S)
            finally:
                self._process.kill()
                self._process = None

    def client(self) -> Client:
        return Client(self.url, self.token)

    def submit(self, name: str, jobs: dict[str, Any], **more: Any) -> str:
        """Submit a spec of jobs. Returns the id of the experiment."""
        with self.client() as client:
            return client.submit(json.dumps({"name": name, "jobs": jobs, **more}).encode(), "json").id

    def cancel(self, experiment: str) -> None:
        with self.client() as client:
            client.cancel(experiment)

    def wait(self, experiment: str) -> str:
        """Wait until an experiment has ended. Returns its state."""
        with self.client() as client:
            until(lambda: client.get(experiment).state != "running", 240)
            return client.get(experiment).state

    def run(self, *words: str) -> str:
        """Run the command line on the data folder. Returns what it prints."""
        command = [ROBXFER, *words]
        return subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=True).stdout

    def _environment(self) -> dict[str, str]:
        outer = {name: value for name, value in os.environ.items() if not name.startswith("ROBXFER_")}
        ours = {"ROBXFER_DATA_DIR": str(self.folder), "ROBXFER_SLOTS": "2", "ROBXFER_FETCH_HOSTS": "127.0.0.1"}
        return outer | ours | self.settings


class Mirror:
    """A web server with one file, of which it sends one half at once and the other when `release` is called.

    As many requests as `refusals` says are answered 404 before that.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.refusals = 0
        self._released = threading.Event()

    def release(self) -> None:
        self._released.set()

    def wait(self) -> None:
        assert self._released.wait(240)


@contextmanager
def mirror() -> Iterator[Mirror]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if served.refusals > 0:
                served.refusals -= 1
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(2 * HALF))
            self.end_headers()
            self.wfile.write(bytes(HALF))
            served.wait()
            self.wfile.write(bytes(HALF))

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Mirror(f"http://127.0.0.1:{server.server_port}/")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield served
    finally:
        served.release()
        server.shutdown()
        thread.join()
        server.server_close()


def fetching(url: str) -> dict[str, Any]:
    """A download from the URL, behind one whose refusal is logged, and an import that finds no model in the file."""
    urls = [f"http://{MARKUP}/", url]
    arch = ARCH | {"input_size": 8}
    imported = {"kind": "import_model", "file": "weights", "arch": arch, "mean": [0.5], "std": [0.5]}
    return {"weights": {"kind": "fetch", "file": "weights.pt", "urls": urls}, "model": imported}


def endless() -> dict[str, Any]:
    """A training that goes on until it is cancelled."""
    model = {"kind": "train", "dataset": "digits", "arch": ARCH, "epochs": 10_000}
    return {"digits": DIGITS, "model": model}


def unclaimed() -> dict[str, Any]:
    """A job in a queue that no worker serves."""
    return {"digits": DIGITS | {"max_test": 41, "run": {"queue": "nobody"}}}


def reporting() -> dict[str, Any]:
    """Two reports, one of verdicts and one of a table, with markup wherever their text is free."""
    model = {"kind": "train", "dataset": "digits", "arch": ARCH, "epochs": 1, "matrix": {"threat.eps": [0.0, 0.5]}}
    return {
        "digits": DIGITS,
        "source": model | {"attack": {"steps": 1}},
        "levels": {"kind": "evaluate", "model": "source", "dataset": "digits", "eps": [0.0]},
        "features": {"kind": "features", "model": "source", "dataset": "digits"},
        "heads": {"kind": "transfer", "features": "features", "epochs": 2},
        "gap": {
            "kind": "report",
            "title": f"Gap {MARKUP}",
            "sources": "levels",
            "arms": [{"target": f"digits {MARKUP}", "variant": "standard", "transfers": "heads"}],
        },
        "simulation": {
            "kind": "simulate",
            "title": f"few {MARKUP}",
            "repeats": 2,
            "setting": {"name": "linear", "eps": [0.0, 1.0], "dimension": 20},
        },
        "risk": {"kind": "simulate_report", "title": f"Risk {MARKUP}", "simulations": "simulation"},
    }
