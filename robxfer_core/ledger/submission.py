"""Submission: a plan becomes an experiment, its nodes, and the jobs that the project does not have yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Row, bindparam, delete, insert, select, update

from robxfer_core.planning.plan import Node, Plan
from robxfer_core.spec.states import ExperimentState, JobState

from . import uploads
from .engine import Conflict, lock_jobs, now, read, write
from .engine import insert as insert_or
from .events import append, experiment_event, job_event
from .ids import new_id
from .tables import edges, experiments, idempotency, jobs, labels, nodes
from .transitions import end_experiments, enqueue, reprioritise

IDEMPOTENCY_S = 24 * 3600.0
"""Seconds for which an idempotency key is remembered."""


@dataclass(frozen=True)
class Submission:
    """What a submission, or a retry, has led to."""

    experiment_id: str
    created: bool
    """False: a submission with the same idempotency key has created the experiment before."""
    queues_ready: list[str]
    """Queues in which a job became ready."""


class IdempotencyKey(NamedTuple):
    """A client's name for a submission, which makes it safe to send again."""

    key: str
    body_sha256: str
    """Of the request's body, in hex: the same key takes the same body only."""


def submit(
    engine: Engine,
    project_id: str,
    spec: dict[str, Any],
    plan: Plan,
    idempotency_key: IdempotencyKey | None = None,
    created_by: str | None = None,
) -> Submission:
    """Write an experiment, its nodes, and the jobs that the project does not have yet, in one transaction.

    Jobs that are done count at once, jobs that run are joined, and failed and cancelled jobs are enqueued again.

    New jobs are inserted first, in the order of their keys, and only then are all jobs of the plan locked. An insertion
    waits for nothing but another submission that still inserts, so no two transactions can wait for each other.

    Args:
        engine: The database.
        project_id: The project.
        spec: The validated spec, as JSON.
        plan: Its plan.
        idempotency_key: If a submission with this key came within a day, that one is returned.
        created_by: The name of the token that asks.

    Raises:
        Conflict: The idempotency key came with another body before.
        SpecError: An import job reads an upload that the project does not have.
    """
    experiment_id = new_id("exp")
    with write(engine) as connection:
        if idempotency_key is not None:
            earlier = _earlier_or_remember(connection, project_id, idempotency_key, experiment_id)
            if earlier is not None:
                return Submission(earlier, created=False, queues_ready=[])
        _insert_experiment(connection, project_id, experiment_id, spec, created_by)
        by_key = {node.key: node for node in plan.nodes}
        inserted = _insert_jobs(connection, project_id, by_key)
        rows = lock_jobs(
            connection,
            jobs.c.project_id == project_id,
            jobs.c.key.in_(list(by_key)),
            columns=(jobs.c.id, jobs.c.key, jobs.c.state, jobs.c.queue, jobs.c.gpus),
        )
        uploads.lock_for_plan(connection, project_id, plan)  # after the jobs: an import that is done stays done now
        ids = {row.key: row.id for row in rows}
        new = {row.key for row in rows if row.id == inserted[row.key]}
        _insert_edges(connection, [node for key, node in by_key.items() if key in new], ids)
        _insert_nodes(connection, experiment_id, plan, ids)
        _change_queues(connection, rows, by_key)
        to_enqueue = [row for row in rows if row.key in new or row.state in (JobState.FAILED, JobState.CANCELLED)]
        enqueued = enqueue(connection, [row.id for row in to_enqueue])
        reprioritise(connection, list(ids.values()))
        counts: dict[str, Any] = {"nodes": len(plan.nodes), "jobs": len(rows), "new": len(new)}
        lines = [experiment_event(project_id, experiment_id, state=ExperimentState.RUNNING, **counts)]
        known = {row.id for row in rows if row.key not in new}
        lines += [job_event(project_id, row.id, state=row.state) for row in enqueued if row.id in known]
        append(connection, lines + end_experiments(connection, experiments.c.id == experiment_id))
    return Submission(experiment_id, created=True, queues_ready=queues_ready(enqueued))


def queues_ready(enqueued: Sequence[Row[str, JobState, str]]) -> list[str]:
    """The queues in which jobs became ready, of the rows that `enqueue` returned."""
    return sorted({row.queue for row in enqueued if row.state == JobState.READY})


def find_submission(engine: Engine, project_id: str, idempotency_key: IdempotencyKey) -> str | None:
    """Find the experiment that a submission with the same idempotency key has created within a day.

    Raises:
        Conflict: The idempotency key came with another body.
    """
    with read(engine) as connection:
        return _earlier(connection, project_id, idempotency_key)


def _earlier_or_remember(
    connection: Connection, project_id: str, idempotency_key: IdempotencyKey, experiment_id: str
) -> str | None:
    """Find the experiment of an earlier submission with this key; without one, remember the key for this one."""
    own = (idempotency.c.project_id == project_id, idempotency.c.key == idempotency_key.key)
    connection.execute(delete(idempotency).where(*own, idempotency.c.at < now() - IDEMPOTENCY_S))
    values = idempotency_key._asdict() | {"project_id": project_id, "experiment_id": experiment_id, "at": now()}
    put = insert_or(connection, idempotency).values(values)
    if connection.scalar(put.on_conflict_do_nothing().returning(idempotency.c.key)) is not None:
        return None
    return _earlier(connection, project_id, idempotency_key)


def _earlier(connection: Connection, project_id: str, idempotency_key: IdempotencyKey) -> str | None:
    own = (idempotency.c.project_id == project_id, idempotency.c.key == idempotency_key.key)
    valid = idempotency.c.at >= now() - IDEMPOTENCY_S
    row = connection.execute(select(idempotency).where(*own, valid)).one_or_none()
    if row is not None and row.body_sha256 != idempotency_key.body_sha256:
        raise Conflict(f"the idempotency key {idempotency_key.key!r} was used for another request")
    return row.experiment_id if row is not None else None


def _insert_experiment(
    connection: Connection, project_id: str, experiment_id: str, spec: dict[str, Any], created_by: str | None
) -> None:
    connection.execute(
        insert(experiments).values(
            id=experiment_id,
            project_id=project_id,
            name=spec["name"],
            state=ExperimentState.RUNNING,
            spec=spec,
            created_at=now(),
            created_by=created_by,
        )
    )
    rows = [
        {"experiment_id": experiment_id, "name": name, "value": value} for name, value in spec.get("labels", {}).items()
    ]
    if rows:
        connection.execute(insert(labels), rows)


def _insert_jobs(connection: Connection, project_id: str, by_key: Mapping[str, Node]) -> dict[str, str]:
    """Insert the jobs that the project does not have, in the order of their keys.

    Returns:
        For each key the id that its job has if this call inserted it.
    """
    depth: dict[str, int] = {}
    for key, node in by_key.items():  # a plan has inputs before the nodes that take them
        depth[key] = 1 + max((depth[ref.key] for ref in node.inputs), default=0)
    ids = {key: new_id("job") for key in by_key}
    rows = [
        {
            "id": ids[key],
            "key": key,
            "depth": depth[key],
            "kind": node.kind,
            "recipe": node.recipe,
            "params": node.params,
            "artifact_type": node.artifact,
            "flops": node.flops,
            "gpus": node.running.gpus,
            "queue": node.running.full_queue,
            **_run_values(node),
        }
        for key, node in sorted(by_key.items())
    ]
    unqueued = {"state": JobState.WAITING, "missing": 0, "not_before": 0.0, "spent": {}, "attempt": 0}
    put = insert_or(connection, jobs).values(
        project_id=project_id, created_at=now(), **{name: bindparam(name) for name in rows[0]}, **unqueued
    )
    connection.execute(put.on_conflict_do_nothing(index_elements=["project_id", "key"]), rows)
    return ids


def _insert_edges(connection: Connection, new: Sequence[Node], ids: Mapping[str, str]) -> None:
    rows = [
        {"job_id": ids[node.key], "field": ref.field, "position": ref.index, "input_job_id": ids[ref.key]}
        for node in new
        for ref in node.inputs
    ]
    if rows:
        connection.execute(insert(edges), rows)


def _insert_nodes(connection: Connection, experiment_id: str, plan: Plan, ids: Mapping[str, str]) -> None:
    rows = [
        {
            "experiment_id": experiment_id,
            "position": position,
            "name": node.name,
            "job_id": ids[node.key],
            **_run_values(node),
        }
        for position, node in enumerate(plan.nodes)
    ]
    connection.execute(insert(nodes), rows)


def _run_values(node: Node) -> dict[str, Any]:
    """Values of the columns that say how a node wants its job to be run (`transitions.RUN_COLUMNS`)."""
    running = node.running
    retries = {f"retries_{outcome}": allowed for outcome, allowed in running.retries.model_dump().items()}
    return {
        "priority": running.priority,
        "deadline_s": running.deadline_s,
        "backoff_s": running.backoff_s,
        **retries,
    }


def _change_queues(connection: Connection, rows: Sequence[Row[Any]], by_key: Mapping[str, Node]) -> None:
    """Move jobs that no worker has claimed yet to the queue, and the number of GPUs, that were named last."""
    moved = [
        {"job": row.id, "new_queue": running.full_queue, "new_gpus": running.gpus}
        for row, running in ((row, by_key[row.key].running) for row in rows)
        if row.state not in (JobState.RUNNING, JobState.DONE)
        and (row.queue, row.gpus) != (running.full_queue, running.gpus)
    ]
    if moved:
        put = update(jobs).where(jobs.c.id == bindparam("job"))
        connection.execute(put.values(queue=bindparam("new_queue"), gpus=bindparam("new_gpus")), moved)
