"""Artifacts: what jobs have left."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Select, func, select, update

from robxfer_core.spec.records import Manifest

from .engine import Unknown, now, read, write
from .paging import Page, before, page_of
from .queue import prefix_of
from .tables import artifacts, jobs


@dataclass(frozen=True)
class Artifact:
    """An immutable manifest of named files, and the job that left them."""

    id: str
    project_id: str
    job_id: str
    attempt: int
    type: str
    manifest: Manifest
    bytes: int
    created_at: float
    pinned_at: float | None
    """Since when it must not be collected."""
    kind: str
    key: str

    @property
    def prefix(self) -> str:
        """Where its files are in the store."""
        return prefix_of(self.project_id, self.job_id, self.attempt)


def get(engine: Engine, project_id: str, artifact_id: str) -> Artifact:
    """An artifact of the project. Raises Unknown."""
    mine = (artifacts.c.id == artifact_id, artifacts.c.project_id == project_id)
    with read(engine) as connection:
        row = connection.execute(_whole().where(*mine)).one_or_none()
    if row is None:
        raise Unknown(f"no artifact {artifact_id} in the project {project_id}")
    return Artifact(**row._mapping)


def pin(engine: Engine, project_id: str, artifact_id: str, pinned: bool = True) -> Artifact:
    """Keep an artifact from being collected, or no longer. Pinned twice, it is since the first time. Raises Unknown."""
    since = func.coalesce(artifacts.c.pinned_at, now()) if pinned else None
    mine = (artifacts.c.id == artifact_id, artifacts.c.project_id == project_id)
    with write(engine) as connection:
        connection.execute(update(artifacts).where(*mine).values(pinned_at=since))
    return get(engine, project_id, artifact_id)


def page(
    engine: Engine, project_id: str, type: str | None = None, limit: int = 50, cursor: str | None = None
) -> Page[Artifact]:
    """Artifacts of the project, of one type or of all, newest first. Raises BadCursor."""
    where = [artifacts.c.project_id == project_id, *before(artifacts.c.id, cursor)]
    if type is not None:
        where.append(artifacts.c.type == type)
    query = _whole().where(*where).order_by(artifacts.c.id.desc()).limit(limit + 1)
    with read(engine) as connection:
        return page_of([Artifact(**row._mapping) for row in connection.execute(query)], limit)


def _whole() -> Select[Any]:
    return select(*artifacts.c, jobs.c.kind, jobs.c.key).join(jobs, jobs.c.id == artifacts.c.job_id)
