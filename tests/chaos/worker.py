"""The worker, with one place more: where it was about to publish, it can be made to stop itself.

That is the worst moment for a pause, after its last look at the clock and before the write, which no signal from
outside would meet by chance. `python -m tests.chaos.worker` is else the worker itself.
"""

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

from sqlalchemy import ColumnElement

from robxfer_core.ledger.attempts import Fence
from robxfer_core.ledger.tables import jobs
from robxfer_core.settings import Settings
from robxfer_core.spec.records import Manifest
from robxfer_worker.main import main

HOLDS = "CHAOS_HOLDS"
"""The folder in which `ask_to_hold` leaves its wish."""
UNFENCED = "CHAOS_UNFENCED"
"""Set: the fence's condition is taken out of the writes, to see the suite fail."""


def ask_to_hold(folder: Path, job_id: str = "") -> None:
    """Let the next worker that is about to publish stop itself: any job, or the one of this id."""
    aside = folder / "hold.new"
    aside.write_text(job_id)
    aside.rename(folder / "hold")


def held(folder: Path) -> tuple[int, str, int] | None:
    """The process that did, and the job and the attempt that it was about to publish."""
    for path in folder.glob("held-*"):
        _, pid, job, attempt = path.name.split("-")
        path.unlink()
        return int(pid), job, int(attempt)
    return None


def hold_at_publish(folder: Path) -> None:
    publish = Fence.publish

    def late(self: Fence, artifact_type: str, manifest: Manifest, publish_s: float | None = None) -> bool:
        with contextlib.suppress(FileNotFoundError):
            if (folder / "hold").read_text() in ("", self.job_id):
                (folder / "hold").rename(folder / f"held-{os.getpid()}-{self.job_id}-{self.attempt}")
                # To this thread, so that it goes no step further.
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        return publish(self, artifact_type, manifest, publish_s)

    Fence.publish = late


def job_alone(self: Fence) -> ColumnElement[bool]:
    return jobs.c.id == self.job_id


if __name__ == "__main__":
    hold_at_publish(Path(os.environ[HOLDS]))
    if UNFENCED in os.environ:
        Fence._holds = job_alone
    sys.exit(main(Settings()))
