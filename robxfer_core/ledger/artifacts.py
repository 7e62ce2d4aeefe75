"""Artifacts: the results that jobs have left."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, Select, func, select, update

from robxfer_core.spec.records import Manifest

from .engine import NotFound, now, read, write
from .paging import KeysetPage, after_cursor, page_of
from .queue import prefix_of
from .tables import artifacts, jobs


@dataclass(frozen=True)
class ArtifactRecord:
    """An artifact and the job that left it."""

    id: str
    project_id: str
    job_id: str
    attempt: int
    type: str
    manifest: Manifest
    bytes: int
    """Sum of its files."""
    created_at: float
    """Seconds since the epoch."""
    pinned_at: float | None
    """When it was pinned; None: it may be collected."""
    kind: str
    """The kind of the job."""
    key: str
    """The key of the job."""

    @property
    def prefix(self) -> str:
        """Its files are in the store under this name and a slash."""
        return prefix_of(self.project_id, self.job_id, self.attempt)


def get(engine: Engine, project_id: str, artifact_id: str) -> ArtifactRecord:
    """Read an artifact of the project.

    Raises:
        NotFound: The project has no such artifact.
    """
    own = (artifacts.c.id == artifact_id, artifacts.c.project_id == project_id)
    with read(engine) as connection:
        row = connection.execute(_with_job().where(*own)).one_or_none()
    if row is None:
        raise NotFound(f"no artifact {artifact_id} in the project {project_id}")
    return ArtifactRecord(**row._mapping)


def pin(engine: Engine, project_id: str, artifact_id: str, pinned: bool = True) -> ArtifactRecord:
    """Keep an artifact from garbage collection, or no longer.

    Args:
        engine: The database.
        project_id: The project.
        artifact_id: The artifact.
        pinned: False removes the pin. An artifact that is pinned again keeps its first time.

    Raises:
        NotFound: The project has no such artifact.
    """
    pinned_at = func.coalesce(artifacts.c.pinned_at, now()) if pinned else None
    own = (artifacts.c.id == artifact_id, artifacts.c.project_id == project_id)
    with write(engine) as connection:
        connection.execute(update(artifacts).where(*own).values(pinned_at=pinned_at))
    return get(engine, project_id, artifact_id)


def page(
    engine: Engine, project_id: str, type: str | None = None, limit: int = 50, cursor: str | None = None
) -> KeysetPage[ArtifactRecord]:
    """Read a page of the project's artifacts, newest first.

    Args:
        engine: The database.
        project_id: The project.
        type: Only artifacts of this type.
        limit: Artifacts on the page.
        cursor: The `next` of the page before.

    Raises:
        BadCursor: No page has returned this cursor.
    """
    where = [artifacts.c.project_id == project_id, *after_cursor(artifacts.c.id, cursor)]
    if type is not None:
        where.append(artifacts.c.type == type)
    query = _with_job().where(*where).order_by(artifacts.c.id.desc()).limit(limit + 1)
    with read(engine) as connection:
        return page_of([ArtifactRecord(**row._mapping) for row in connection.execute(query)], limit)


def _with_job() -> Select[Any]:
    return select(*artifacts.c, jobs.c.kind, jobs.c.key).join(jobs, jobs.c.id == artifacts.c.job_id)
