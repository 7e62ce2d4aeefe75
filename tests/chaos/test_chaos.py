"""Two rounds of chaos at each run of the tests; and that chaos finds a fault where there is one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.service.killable import RABBITMQ

pytestmark = pytest.mark.servers
ROOT = Path(__file__).parents[2]


def chaos(*options: str) -> tuple[int, dict[str, Any]]:
    """The exit status, and what the one line says."""
    command = [sys.executable, "-m", "tests.chaos", *options]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=800)
    (line,) = done.stdout.splitlines()
    return done.returncode, json.loads(line)


def test_nothing_is_lost_while_everything_dies():
    status, told = chaos("--rounds", "2", "--seed", "2")
    assert status == 0, told
    assert (told["rounds"], told["accepted"], told["ended"]) == (2, 4, 4)
    assert [told[name] for name in ("lost", "published_twice", "orphans", "damaged", "fallen")] == [0] * 5
    assert told["states"] == {"done": 2, "cancelled": 2}
    victims = {"child", "worker", "api", "database", "broker", "store", "pause", "late_pause"}
    assert set(told["kills"]) == victims, told


@pytest.mark.slow
@pytest.mark.skipif(not RABBITMQ.exists(), reason="no RabbitMQ is installed")
def test_nothing_is_lost_with_rabbitmq():
    status, told = chaos("--rounds", "1", "--seed", "2", "--broker", "rabbitmq", "--only", "broker", "--only", "worker")
    assert status == 0, told
    assert (told["broker"], set(told["kills"])) == ("rabbitmq", {"broker", "worker"})


def test_without_the_fence_a_paused_worker_publishes_twice():
    status, told = chaos("--rounds", "1", "--seed", "2", "--only", "late_pause", "--unfenced")
    assert told["kills"] == {"late_pause": 1}
    assert told["published_twice"] > 0
    assert status == 1
