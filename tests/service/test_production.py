"""The whole way on real servers: PostgreSQL, a Redis-protocol broker and S3, by their URLs alone."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robxfer_core.client import Client
from robxfer_core.ledger import tokens
from robxfer_core.ledger.engine import connect
from robxfer_core.settings import Settings

from . import servers, tiny
from .servers import PATIENCE_S

pytestmark = pytest.mark.servers


def collect(environment: dict[str, str], *words: str) -> list[dict[str, Any]]:
    """What a collection of all that is not needed this very moment says."""
    command = [sys.executable, "-P", "-m", "robxfer_cli.main", "gc", "--older-than", "0", "--json", *words]
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=PATIENCE_S)
    return [json.loads(line) for line in said.stdout.splitlines()]


def test_a_study_on_postgresql_valkey_and_s3(postgres: Callable[..., str], tmp_path: Path):
    with servers.valkey(tmp_path / "valkey") as broker, servers.s3(tmp_path / "s3") as store:
        settings = Settings(
            data_dir=tmp_path / "data", database_url=postgres(), broker_url=broker, slots=2, port=0, **store.settings()
        )
        told = {
            "ROBXFER_DATABASE_URL": settings.database_url,
            "ROBXFER_BROKER_URL": broker,
            "ROBXFER_STORE_URL": settings.store_url,
            "ROBXFER_S3_ENDPOINT": settings.s3_endpoint,
            "ROBXFER_S3_ACCESS_KEY": settings.s3_access_key,
            "ROBXFER_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
            "ROBXFER_S3_SECURE": "false",
            "ROBXFER_PORT": "0",
        }
        own = {name: value for name, value in os.environ.items() if not name.startswith("ROBXFER_")} | told
        subprocess.run(
            [sys.executable, "-P", "-m", "robxfer_cli.main", "migrate"], env=own, check=True, timeout=PATIENCE_S
        )
        api = subprocess.Popen(
            [sys.executable, "-P", "-m", "robxfer_cli.main", "api"], env=own, stdout=subprocess.PIPE, text=True
        )
        assert api.stdout is not None
        try:
            url = api.stdout.readline().split()[-1]
            _, token = tokens.create(connect(settings.database_url), "default", "tester", "submit")
            with servers.worker(settings, tmp_path / "worker") as worker, Client(url, token) as client:
                asked = client.submit(tiny.study((0,)), "json")
                events = list(client.events(asked.id))
                ended = client.get(asked.id)
                assert ended.state == "done", [event.data for event in events if event.data.get("error")]
                assert events[-1].type == "end"
                told = [line for line in worker.lines() if line["event"] == "started"]
                assert {line["job"] for line in told} == {node.job_id for node in ended.nodes}
                assert all(line["experiments"] == [asked.id] and line["attempt"] == 1 for line in told)
                report = client.report(asked.id)
                assert {row["variant"] for row in report["verdicts"]} == {"standard", "antirobust"}
                made = next(node for node in ended.nodes if node.kind == "transfer_gap_report")
                files = client.download(str(made.artifact_id), tmp_path / "out")
                assert {file.name for file in files} >= {"report.json", "figure3.png", "report.html"}

                client.pin(str(made.artifact_id))
                told, done, after = (collect(own, *words) for words in (["--dry-run"], [], []))
                assert told[:-1] == done[:-1]
                assert {line["reason"] for line in done[:-1]} == {"artifact"}
                assert len(done) == len(ended.nodes)  # all but the report, and the line that sums up
                assert [line.get("removed") for line in after] == [{}]
                assert client.report(asked.id) == report
        finally:
            api.terminate()
            api.wait(PATIENCE_S)
