"""What a plan says a study takes, against what it then takes: the quickstart, and the quickstart with other seeds."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from robxfer_cli import stack
from robxfer_core.client import Client

SPEC = Path(__file__).parents[1] / "examples" / "quickstart.yaml"


def run() -> Iterator[dict[str, Any]]:
    """Minutes: both studies are run whole."""
    first = SPEC.read_bytes()
    second = first.replace(b"seeds: [0, 1, 2, 3, 4]", b"seeds: [5, 6, 7, 8, 9]")
    assert second != first
    with (
        tempfile.TemporaryDirectory() as folder,
        stack.started(Path(folder), worker=True) as url,
        Client(url) as client,
    ):
        for name, spec in (("quickstart", first), ("quickstart, other seeds", second)):
            cost = client.plan(spec).cost
            began = perf_counter()
            asked = client.submit(spec)
            for _ in client.events(asked.id):
                pass
            took = perf_counter() - began
            assert client.get(asked.id).state == "done"
            planned = cost.wall_seconds or 0.0
            yield {
                "study": name,
                "planned_s": round(planned, 1),
                "took_s": round(took, 1),
                "planned_over_took": round(planned / took, 2),
                "basis": cost.basis,
            }
