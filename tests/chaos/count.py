"""What is counted when all is over, from the ledger and the store alone."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, select

from robxfer_core.ledger.engine import read
from robxfer_core.ledger.queue import prefix_of
from robxfer_core.ledger.tables import artifacts, attempts, experiments, jobs
from robxfer_core.storage import Missing, Store


@dataclass(frozen=True)
class Count:
    states: dict[str, int]
    """How the accepted experiments ended."""
    outcomes: dict[str, int]
    """How the attempts did."""
    lost: list[str]
    """Accepted experiments that the ledger does not know, or that have not ended."""
    published_twice: list[str]
    """Jobs with more than one artifact or attempt that succeeded, or whose artifact is not that attempt's."""
    damaged: list[str]
    """Files of artifacts that are not in the store as their manifest says."""


def count(engine: Engine, store: Store, accepted: Sequence[str]) -> Count:
    with read(engine) as connection:
        known = dict(connection.execute(select(experiments.c.id, experiments.c.state)).all())
        ended = connection.execute(select(attempts.c.job_id, attempts.c.number, attempts.c.outcome)).all()
        kept = connection.execute(select(artifacts)).all()
        pointers = dict(connection.execute(select(jobs.c.id, jobs.c.artifact_id)).all())
    succeeded: dict[str, list[int]] = {}
    for row in ended:
        if row.outcome == "succeeded":
            succeeded.setdefault(row.job_id, []).append(row.number)
    made: dict[str, list[tuple[str, int]]] = {}
    for row in kept:
        made.setdefault(row.job_id, []).append((row.id, row.attempt))
    return Count(
        states=dict(Counter(known.get(each, "unknown") for each in accepted)),
        outcomes=dict(Counter(row.outcome or "none" for row in ended)),
        lost=[each for each in accepted if known.get(each) not in ("done", "failed", "cancelled")],
        published_twice=sorted(
            job
            for job in made.keys() | succeeded.keys() | {job for job, pointer in pointers.items() if pointer}
            if not (
                len(made.get(job, ())) == 1
                and [attempt for _, attempt in made[job]] == succeeded.get(job)
                and made[job][0][0] == pointers[job]
            )
        ),
        damaged=[
            name
            for row in kept
            for file in row.manifest["files"]
            if _sha256(store, name := f"{prefix_of(row.project_id, row.job_id, row.attempt)}/{file['path']}")
            != file["sha256"]
        ],
    )


def _sha256(store: Store, name: str) -> str | None:
    digest = hashlib.sha256()
    try:
        for piece in store.stream(name):
            digest.update(piece)
    except Missing:
        return None
    return digest.hexdigest()
