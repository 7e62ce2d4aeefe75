"""Schemathesis over the whole of /openapi.json, against a real API with something in its ledger: `make fuzz`.

Exits 1 where an answer is a 5xx, or of a status, media type, form or header that its route does not tell of; where
what the schema refuses is taken, or what it takes is refused. The seed is fixed, so a failure comes again.
"""

import logging
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
import yaml

from robxfer_core.client import Client
from robxfer_core.ledger import tokens
from tests.service.api.conftest import Service, served, spec
from tests.service.killable import postgresql
from tests.service.servers import free_ports

HERE = Path(__file__).parent
MANY = {"rate_per_minute": 1_000_000, "failures_per_minute": 1_000_000}  # or most answers would be 429


def fill(service: Service, client: Client) -> dict[str, list[str]]:
    """Experiments in three states, with jobs and artifacts, and tokens. The ids of each."""

    def submit(name: str, *seeds: int) -> str:
        return client.submit(yaml.safe_dump(spec(name, seeds, labels={"of": "fuzz"})).encode(), "yaml", name).id

    done = submit("done", 0, 1)
    service.work()
    cancelled, running = submit("cancelled", 2), submit("running", 3)
    client.cancel(cancelled)
    views = [client.get(each) for each in (done, cancelled, running)]
    nodes = [node for view in views for node in view.nodes]
    others = [tokens.create(service.engine, "default", f"other-{n}", "read")[0].id for n in range(3)]
    return {
        "done": [done],
        "tokens": others,
        "experiments": [view.id for view in views],
        "jobs": [node.job_id for node in nodes],
        "artifacts": [node.artifact_id for node in nodes if node.artifact_id],
    }


@contextmanager
def service(folder: Path) -> Iterator[Service]:
    """An API that asks for tokens, on PostgreSQL and a folder."""
    server, url = postgresql(folder / "database", free_ports(1)[0])
    server.start()
    try:
        with served(folder / "data", database_url=url, access="tokens", **MANY) as running:
            yield running
    finally:
        server.stop()


def main(words: list[str]) -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))  # not a line a request
    with tempfile.TemporaryDirectory(prefix="robxfer-fuzz-") as made, service(Path(made)) as running:
        folder, token = Path(made), running.token("admin")
        with running.client(token) as client:
            for name, ids in fill(running, client).items():
                (folder / name).write_text("".join(f'"{id}"\n' for id in ids))
        command = [
            str(Path(sysconfig.get_path("scripts")) / "schemathesis"),
            f"--config-file={shutil.copy(HERE / 'schemathesis.toml', folder)}",
            "run",
            f"{running.url}/openapi.json",
            f"--header=Authorization: Bearer {token}",
            *words,
        ]
        return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
