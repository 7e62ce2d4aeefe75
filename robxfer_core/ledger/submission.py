"""Submit: a plan becomes an experiment, its nodes, and the jobs that were not known."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, delete, insert, select, update

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
"""How long an idempotency key is remembered."""


@dataclass(frozen=True)
class Submission:
    experiment_id: str
    created: bool
    """False: the same idempotency key had submitted it before."""
    queues_ready: list[str]
    """Queues in which a job became ready."""


def submit(
    engine: Engine,
    project_id: str,
    spec: dict[str, Any],
    plan: Plan,
    idempotency: tuple[str, str] | None = None,
    created_by: str | None = None,
) -> Submission:
    """Write an experiment, its nodes, and the jobs not yet known, in one transaction.

    Jobs that are done count at once, those that run are joined, failed and cancelled ones get a fresh budget.
    idempotency: the client's key and the sha256 of the request's body; Conflict where the key came with another body.
    created_by: the name of the token that asks. SpecError where an import job names an upload that is not there.

    New jobs go in first, in key order, and only then are all of the plan's locked: an insertion waits for nobody but
    another submission that is still inserting, so no two transactions can wait for each other.
    """
    experiment_id = new_id("exp")
    with write(engine) as connection:
        if idempotency is not None:
            earlier = _recall(connection, project_id, idempotency, experiment_id)
            if earlier is not None:
                return Submission(earlier, created=False, queues_ready=[])
        _insert_experiment(connection, project_id, experiment_id, spec, created_by)
        distinct = {node.key: node for node in plan.nodes}
        fresh = _insert_jobs(connection, project_id, distinct)
        rows = lock_jobs(
            connection,
            jobs.c.project_id == project_id,
            jobs.c.key.in_(list(distinct)),
            columns=(jobs.c.id, jobs.c.key, jobs.c.state, jobs.c.queue, jobs.c.gpus),
        )
        uploads.hold(connection, project_id, plan)  # no sooner: an import that is done, and needs none, now stays so
        ids = {row.key: row.id for row in rows}
        new = {row.key for row in rows if row.id == fresh[row.key]}
        _insert_edges(connection, [node for key, node in distinct.items() if key in new], ids)
        _insert_nodes(connection, experiment_id, plan, ids)
        _move(connection, rows, distinct)
        enqueued = enqueue(
            connection, [row.id for row in rows if row.key in new or row.state in (JobState.FAILED, JobState.CANCELLED)]
        )
        reprioritise(connection, list(ids.values()))
        counts: dict[str, Any] = {"nodes": len(plan.nodes), "jobs": len(rows), "new": len(new)}
        lines = [experiment_event(project_id, experiment_id, state=ExperimentState.RUNNING, **counts)]
        again = {row.id for row in rows if row.key not in new}
        lines += [job_event(project_id, row.id, state=row.state) for row in enqueued if row.id in again]
        append(connection, lines + end_experiments(connection, experiments.c.id == experiment_id))
    return Submission(experiment_id, created=True, queues_ready=queues_of(enqueued))


def queues_of(enqueued: list[Any]) -> list[str]:
    """The queues in which enqueued jobs became ready."""
    return sorted({row.queue for row in enqueued if row.state == JobState.READY})


def submitted(engine: Engine, project_id: str, given: tuple[str, str]) -> str | None:
    """The experiment that the same idempotency key, with the same body, has submitted. Raises Conflict."""
    with read(engine) as connection:
        return _earlier(connection, project_id, given)


def _recall(connection: Connection, project_id: str, given: tuple[str, str], experiment_id: str) -> str | None:
    """The experiment that this idempotency key submitted before; else remember that it submits this one."""
    key, body = given
    connection.execute(
        delete(idempotency).where(
            idempotency.c.project_id == project_id, idempotency.c.key == key, idempotency.c.at < now() - IDEMPOTENCY_S
        )
    )
    put = insert_or(connection, idempotency).values(
        project_id=project_id, key=key, body_sha256=body, experiment_id=experiment_id, at=now()
    )
    if connection.scalar(put.on_conflict_do_nothing().returning(idempotency.c.key)) is not None:
        return None
    return _earlier(connection, project_id, given)


def _earlier(connection: Connection, project_id: str, given: tuple[str, str]) -> str | None:
    key, body = given
    kept = (idempotency.c.project_id == project_id, idempotency.c.key == key, idempotency.c.at >= now() - IDEMPOTENCY_S)
    row = connection.execute(select(idempotency).where(*kept)).one_or_none()
    if row is not None and row.body_sha256 != body:
        raise Conflict(f"the idempotency key {key!r} was used for another request")
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
    marks = [
        {"experiment_id": experiment_id, "name": name, "value": value} for name, value in spec.get("labels", {}).items()
    ]
    if marks:
        connection.execute(insert(labels), marks)


def _insert_jobs(connection: Connection, project_id: str, distinct: dict[str, Node]) -> dict[str, str]:
    """Insert the jobs that are not there, in key order. Returns the id that each key got if it was new."""
    depth: dict[str, int] = {}
    for key, node in distinct.items():  # inputs come before what takes them
        depth[key] = 1 + max((depth[ref.key] for ref in node.inputs), default=0)
    fresh = {key: new_id("job") for key in distinct}
    rows = [
        {
            "id": fresh[key],
            "key": key,
            "depth": depth[key],
            "kind": node.kind,
            "recipe": node.recipe,
            "params": node.params,
            "artifact_type": node.artifact,
            "flops": node.flops,
            "gpus": node.running.gpus,
            "queue": node.running.full_queue,
            **_run_columns(node),
        }
        for key, node in sorted(distinct.items())
    ]
    still = {"state": JobState.WAITING, "missing": 0, "not_before": 0.0, "spent": {}, "attempt": 0}
    put = insert_or(connection, jobs).values(
        project_id=project_id, created_at=now(), **{name: bindparam(name) for name in rows[0]}, **still
    )
    connection.execute(put.on_conflict_do_nothing(index_elements=["project_id", "key"]), rows)
    return fresh


def _insert_edges(connection: Connection, new: list[Node], ids: dict[str, str]) -> None:
    rows = [
        {"job_id": ids[node.key], "field": ref.field, "position": ref.index, "input_job_id": ids[ref.key]}
        for node in new
        for ref in node.inputs
    ]
    if rows:
        connection.execute(insert(edges), rows)


def _insert_nodes(connection: Connection, experiment_id: str, plan: Plan, ids: dict[str, str]) -> None:
    rows = [
        {
            "experiment_id": experiment_id,
            "position": position,
            "name": node.name,
            "job_id": ids[node.key],
            **_run_columns(node),
        }
        for position, node in enumerate(plan.nodes)
    ]
    connection.execute(insert(nodes), rows)


def _run_columns(node: Node) -> dict[str, Any]:
    """What the node wants of how its job is run (transitions.RUN_COLUMNS)."""
    running = node.running
    retries = {f"retries_{outcome}": allowed for outcome, allowed in running.retries.model_dump().items()}
    return {
        "priority": running.priority,
        "deadline_s": running.deadline_s,
        "backoff_s": running.backoff_s,
        **retries,
    }


def _move(connection: Connection, rows: list[Any], distinct: dict[str, Node]) -> None:
    """A job that does not run yet waits in the queue that was named last, for as many GPUs."""
    moved = [
        {"job": row.id, "to": running.full_queue, "of": running.gpus}
        for row, running in ((row, distinct[row.key].running) for row in rows)
        if row.state not in (JobState.RUNNING, JobState.DONE)
        and (row.queue, row.gpus) != (running.full_queue, running.gpus)
    ]
    if moved:
        put = update(jobs).where(jobs.c.id == bindparam("job"))
        connection.execute(put.values(queue=bindparam("to"), gpus=bindparam("of")), moved)
