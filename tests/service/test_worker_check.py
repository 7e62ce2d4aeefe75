"""`robxfer worker --check`: whether the worker of this host goes about its rounds."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from robxfer_core.settings import Settings

from . import servers

pytestmark = pytest.mark.servers


def test_a_worker_that_stands_still_or_is_gone_is_known(migrated_sqlite: Path, tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(migrated_sqlite, data / "ledger.sqlite")
    assert not _lives(data)
    with servers.worker(Settings(data_dir=data, slots=1, sweep_s=0.2), tmp_path) as worker:
        assert _lives(data)
        worker.pause()
        lock = data / "work" / "0.lock"
        os.utime(lock, (0, 0))  # what only time would do
        assert not _lives(data)
        worker.process.send_signal(signal.SIGCONT)
        servers.until(lambda: _lives(data))
        lock.write_text(socket.gethostname() + "-other")
        assert not _lives(data)


def _lives(data: Path) -> bool:
    own = {name: value for name, value in os.environ.items() if not name.startswith("ROBXFER_")}
    told = {**own, "ROBXFER_DATA_DIR": str(data)}
    command = [sys.executable, "-P", "-m", "robxfer_cli.main", "worker", "--check"]
    return subprocess.run(command, env=told, timeout=servers.PATIENCE_S).returncode == 0
