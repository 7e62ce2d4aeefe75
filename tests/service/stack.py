"""A stack for tests that run jobs: a database, a broker and a store, with the few moves that tests make in it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from robxfer_core import messaging
from robxfer_core.ledger import experiments
from robxfer_core.ledger.engine import read, write
from robxfer_core.ledger.tables import artifacts, attempts, jobs, metrics, projects
from robxfer_core.planning.experiment import read_spec
from robxfer_core.planning.plan import make_plan
from robxfer_core.settings import Settings
from robxfer_core.spec.datasets import BUILTIN

from . import servers
from .servers import until

DIGITS = {"kind": "dataset", "name": "digits", "max_train": 100, "max_test": 20}
LONG: dict[str, Any] = {"epochs": 10_000, "batch_size": 4}
"""A training that outlasts every test: many minutes of work on any machine, checked for a stop at each small step."""
ENOUGH = 600  # epochs: seconds of work, so that a job can be met while it runs, and seen to its end
HURRIED: dict[str, Any] = {
    "slots": 2,
    "sweep_s": 0.3,
    "wanted_s": 0.2,
    "checkpoint_s": 0.5,
    "grace_s": 120.0,
}


@dataclass
class Stack:
    """A database, a broker and a store, and what tests ask of them."""

    settings: Settings
    engine: Engine
    folder: Path

    def submit(
        self, *, project: str = "default", epochs: int = 1, run: dict[str, Any] | None = None, **more: Any
    ) -> str:
        """Submit a data set and a training on it (of no epochs: the data set alone), and ring. The experiment's id.

        `run` is for the last of them alone: a data set takes its time, and has no deadline to meet.
        """
        how = {"run": run or {}}
        if not epochs:
            return self.ask({"digits": DIGITS | how}, project)
        train = {"kind": "train", "dataset": "digits", "arch": {"name": "cnn", "width": 0.25}, "epochs": epochs, **more}
        return self.ask({"digits": DIGITS, "model": train | how}, project)

    def ask(self, wanted: dict[str, Any], project: str = "default") -> str:
        """Submit jobs as a spec says them, and ring. The experiment's id."""
        spec: dict[str, Any] = {"name": "test", "jobs": wanted}
        plan = make_plan(read_spec(json.dumps(spec).encode(), "json"), dict(BUILTIN))
        submission = experiments.submit(self.engine, project, spec, plan)
        messaging.notify(self.settings, submission.queues_ready)
        return submission.experiment_id

    def ended(self, experiment: str, project: str = "default") -> str:
        """Wait for the experiment to end. Its state then."""
        return until(lambda: self._end(experiment, project))

    def _end(self, experiment: str, project: str) -> str | None:
        state = experiments.get_state(self.engine, project, experiment)
        return None if state == "running" else state

    def job(self, experiment: str, node: str = "model") -> Any:
        """The row of the job of a node."""
        member = next(each for each in experiments.list_nodes(self.engine, experiment) if each.name == node)
        with read(self.engine) as connection:
            return connection.execute(select(jobs).where(jobs.c.id == member.job_id)).one()

    def attempts(self, job_id: str) -> list[Any]:
        with read(self.engine) as connection:
            rows = select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.number)
            return list(connection.execute(rows))

    def artifact(self, job: Any) -> Any:
        with read(self.engine) as connection:
            return connection.execute(select(artifacts).where(artifacts.c.id == job.artifact_id)).one()

    def running(self, worker: servers.Worker, experiment: str) -> int:
        """Wait until the training runs and has measured something. The process id of its child."""

        def measured() -> bool:
            with read(self.engine) as connection:
                mine = metrics.c.job_id == self.job(experiment).id
                return connection.execute(select(metrics).where(mine).limit(1)).first() is not None

        until(measured)
        (pid,) = worker.jobs()
        return pid

    def expire(self, experiment: str) -> None:
        """Let the lease of the training have run out: what only time would do, once its worker is gone."""
        expire(self.engine, self.job(experiment).id)

    def project(self, name: str) -> str:
        with write(self.engine) as connection:
            connection.execute(projects.insert().values(id=name, name=name))
        return name


def expire(engine: Engine, job_id: str) -> None:
    """Let the lease of a job have run out."""
    with write(engine) as connection:
        connection.execute(jobs.update().where(jobs.c.id == job_id).values(lease_until=0.0))
