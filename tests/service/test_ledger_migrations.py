"""The migrations: up, down, the same as the tables, one at a time."""

import json
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, inspect, select

from robxfer_core.ledger import experiments, jobs, migrate, queue, tables
from robxfer_core.ledger.attempts import Fence
from robxfer_core.ledger.engine import connect, read, write
from robxfer_core.ledger.tables import metadata, projects
from robxfer_core.spec.states import AttemptOutcome

pytestmark = pytest.mark.servers


def test_up_gives_the_tables_that_the_code_knows(database_url):
    engine = connect(database_url)
    with read(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert connection.scalars(select(projects.c.id)).all() == ["default"]
    engine.dispose()


def test_a_difference_would_be_seen(database_url):
    from sqlalchemy import Column, Integer, MetaData

    other = MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.sorted_tables:
        table.to_metadata(other)
    other.tables["workers"].append_column(Column("colour", Integer))
    engine = connect(database_url)
    with read(engine) as connection:
        assert len(compare_metadata(MigrationContext.configure(connection), other)) == 1
    engine.dispose()


def test_up_and_down_and_up(empty_url):
    assert migrate.current(empty_url) is None
    migrate.upgrade(empty_url)
    migrate.upgrade(empty_url)
    assert migrate.current(empty_url) == migrate.head()
    migrate.downgrade(empty_url, "base")
    assert migrate.current(empty_url) is None
    engine = connect(empty_url)
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()
    migrate.upgrade(empty_url)


def test_two_that_migrate_at_once_wait_for_each_other(empty_url, together):
    together(*[lambda: migrate.upgrade(empty_url)] * 3)
    assert migrate.current(empty_url) == migrate.head()


JOB = {
    "project_id": "default", "recipe": 1, "params": {"seed": 1}, "artifact_type": "model", "flops": 1e9, "gpus": 1,
    "queue": "cpu", "priority": 2, "deadline_s": 60.0, "not_before": 0.0, "attempt": 1, "created_at": 1.5,
}  # fmt: skip
FIRST: dict[str, list[dict[str, Any]]] = {
    "projects": [{"id": "lab", "name": "A lab's", "quota": 3}],
    "workers": [
        {"id": "w", "queues": ["cpu"], "slots": 2, "device": "cpu", "datasets": {"digits": {}}, "state": "live",
         "seen_at": 1.0}
    ],
    "experiments": [
        {"id": "exp_1", "project_id": "default", "name": "x", "state": "running", "spec": {"name": "x"},
         "created_at": 1.0}
    ],
    "idempotency": [{"project_id": "default", "key": "k", "body_sha256": "0", "experiment_id": "exp_1", "at": 1.0}],
    "jobs": [
        {**JOB, "id": "job_1", "key": "a", "depth": 1, "kind": "dataset", "retries": 1, "state": "done", "missing": 0,
         "failures": 0, "losses": 0, "artifact_id": "art_1"},
        {**JOB, "id": "job_2", "key": "b", "depth": 2, "kind": "train", "retries": 3, "state": "ready", "missing": 0,
         "failures": 2, "losses": 1, "ready_at": 3.0, "checkpoint": {"prefix": "default/job_2/1/checkpoint-1"}},
    ],
    "attempts": [
        {"job_id": "job_1", "number": 1, "worker_id": "w", "device": "cpu", "started_at": 1.0, "ended_at": 2.0,
         "outcome": "succeeded"},
        {"job_id": "job_2", "number": 1, "worker_id": "w", "device": "cpu", "started_at": 2.0, "ended_at": 3.0,
         "outcome": "failed", "error": {"class": "E"}},
    ],
    "edges": [{"job_id": "job_2", "field": "dataset", "position": 0, "input_job_id": "job_1"}],
    "events": [
        {"project_id": "default", "experiment_id": "exp_1", "at": 1.0, "type": "state", "data": {"state": "running"}},
        {"project_id": "default", "job_id": "job_2", "at": 2.0, "type": "log", "data": {"line": "\u00e9"}},
    ],
    "labels": [{"experiment_id": "exp_1", "name": "of", "value": "tests"}],
    "metrics": [{"job_id": "job_2", "name": "loss", "step": 2**40, "value": 0.5}],
    "nodes": [
        {"experiment_id": "exp_1", "position": n, "name": f"n{n}", "job_id": f"job_{n}", "priority": 2,
         "deadline_s": 60.0, "retries": 3}
        for n in (1, 2)
    ],
    "artifacts": [
        {"id": "art_1", "project_id": "default", "job_id": "job_1", "attempt": 1, "type": "dataset",
         "manifest": {"files": []}, "bytes": 2**40, "created_at": 2.0}
    ],
}  # fmt: skip
"""Rows in all tables of the first revision."""
LATER: dict[str, list[dict[str, Any]]] = {
    "tokens": [{"id": "tok_1", "project_id": "lab", "name": "t", "sha256": "1", "scope": "read", "created_at": 1.0}],
    "audit": [{"at": 1.0, "project_id": "lab", "who": "t", "action": "submit"}],
    "uploads": [{"id": "upl_1", "project_id": "lab", "sha256": "2", "bytes": 3, "created_at": 1.0}],
}
"""And in those that came after it."""


def fill(engine: Engine, tables: dict[str, list[dict[str, Any]]]) -> None:
    """Insert rows, by the columns that the tables have at this revision."""
    found = MetaData()
    found.reflect(engine)
    with write(engine) as connection:
        for name, rows in tables.items():
            for row in rows:
                connection.execute(found.tables[name].insert().values(row))


def contents(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables, by column; JSON read."""
    found = MetaData()
    found.reflect(engine)
    with read(engine) as connection:
        return {
            name: [dict(row._mapping) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for name, table in found.tables.items()
            if name != "alembic_version"
        }


def schema(engine: Engine) -> Any:
    """Columns, keys, constraints and indices of all tables, in no order.

    Not the defaults: a column that is added needs one for the rows that are there, and SQLite cannot take it back.
    """
    seen = inspect(engine)

    def plain(value: Any) -> str:
        return json.dumps(value, default=str, sort_keys=True)

    return {
        name: {
            "columns": sorted(plain({**each, "default": None}) for each in seen.get_columns(name)),
            "key": plain(seen.get_pk_constraint(name)),
            "foreign": sorted(plain(each) for each in seen.get_foreign_keys(name)),
            "unique": sorted(plain(each) for each in seen.get_unique_constraints(name)),
            "checks": sorted(plain(each) for each in seen.get_check_constraints(name)),
            "indices": sorted(plain(each) for each in seen.get_indexes(name)),
        }
        for name in seen.get_table_names()
    }


def test_rows_of_the_first_revision_live_through_all_and_back(empty_url):
    migrate.upgrade(empty_url, "0001")
    engine = connect(empty_url)
    fill(engine, FIRST)
    before = contents(engine)
    assert all(before.values())

    migrate.upgrade(empty_url)
    after = contents(engine)
    ready = next(row for row in after["jobs"] if row["id"] == "job_2")
    allowed = ("retries_failed", "retries_timed_out", "retries_out_of_memory", "retries_lost", "backoff_s")
    assert [ready[name] for name in allowed] == [3, 3, 0, 2, 5.0]
    assert [after["nodes"][0][name] for name in allowed] == [3, 3, 0, 2, 5.0]
    assert ready["spent"] == {"failed": 2, "lost": 1}
    for table, rows in before.items():  # what was there is there, under its name or its new one
        for old, new in zip(rows, after[table], strict=True):
            assert {name: value for name, value in old.items() if name in new} == {
                name: new[name] for name in old if name in new
            }
    # The code works with what it finds: the job has one failure left, and no more losses than two.
    assert jobs.get(engine, "default", "job_2").spent == {"failed": 2, "lost": 1}
    claim = queue.claim(engine, "w", ["cpu"], -1, "cpu")
    assert claim is not None
    assert (claim.job_id, claim.checkpoint) == ("job_2", {"prefix": "default/job_2/1/checkpoint-1"})
    queue.sweep(engine)
    with write(engine) as connection:  # what the pause after a second loss would do
        connection.execute(tables.jobs.update().values(not_before=0.0))
    assert queue.sweep(engine) == ["cpu"]
    claim = queue.claim(engine, "w", ["cpu"], 60, "cpu")
    assert claim is not None
    assert Fence(engine, claim.job_id, claim.attempt).finish(AttemptOutcome.FAILED)
    assert jobs.get(engine, "default", "job_2").state == "ready"

    fill(engine, LATER)
    migrate.downgrade(empty_url, "0001")
    back = contents(engine)
    job = next(row for row in back["jobs"] if row["id"] == "job_2")
    assert (job["retries"], job["failures"], job["losses"]) == (3, 3, 2)
    for table in before.keys() - {"jobs", "attempts", "events"}:  # which went on meanwhile
        assert back[table] == before[table]
    assert back["jobs"][0] == before["jobs"][0]
    assert back["attempts"][:2] == before["attempts"]
    assert back["events"][:2] == before["events"]

    migrate.upgrade(empty_url)
    assert queue.sweep(engine) == []  # in the pause before its last try
    assert experiments.get_state(engine, "default", "exp_1") == "running"
    migrate.downgrade(empty_url, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    engine.dispose()


def test_each_revision_up_and_down_and_up_leaves_the_same_schema(empty_url):
    engine = connect(empty_url)
    script = ScriptDirectory.from_config(migrate._config())
    revisions = [each.revision for each in script.walk_revisions()][::-1]
    assert revisions[0] == "0001"
    assert revisions[-1] == migrate.head()
    below = "base"
    for revision in revisions:
        start = schema(engine)
        migrate.upgrade(empty_url, revision)
        first = schema(engine)
        assert first != start
        migrate.downgrade(empty_url, below)
        assert schema(engine).keys() - {"alembic_version"} == start.keys() - {"alembic_version"}
        assert below == "base" or schema(engine) == start
        migrate.upgrade(empty_url, revision)
        assert schema(engine) == first
        below = revision
    engine.dispose()
