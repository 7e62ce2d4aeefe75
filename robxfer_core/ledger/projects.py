"""Projects: each owns its experiments, jobs and artifacts, and has a quota of jobs that run at once."""

import re
from dataclasses import dataclass

from sqlalchemy import Engine, select, update

from .engine import Conflict, NotFound, insert, read, write
from .tables import projects

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_COLUMNS = select(projects.c.id, projects.c.quota)


@dataclass(frozen=True)
class Project:
    """A project."""

    id: str
    """Its name too."""
    quota: int | None
    """Jobs that may run at once; None: as many as there are slots."""


def create(engine: Engine, name: str, quota: int | None = None) -> Project:
    """Create a project.

    Args:
        engine: The database.
        name: Up to 40 small letters, digits and `-`.
        quota: Jobs that may run at once; None for no limit.

    Raises:
        ValueError: The name is of another form.
        Conflict: A project has this name.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"a project's name is {name!r}; takes up to 40 small letters, digits and -")
    with write(engine) as connection:
        put = insert(connection, projects).values(id=name, name=name, quota=quota)
        if connection.scalar(put.on_conflict_do_nothing().returning(projects.c.id)) is None:
            raise Conflict(f"there is a project {name}")
    return Project(name, quota)


def get(engine: Engine, project_id: str) -> Project:
    """Read a project.

    Raises:
        NotFound: There is no such project.
    """
    with read(engine) as connection:
        row = connection.execute(_COLUMNS.where(projects.c.id == project_id)).one_or_none()
    if row is None:
        raise NotFound(f"no project {project_id}")
    return Project(**row._mapping)


def set_quota(engine: Engine, project_id: str, quota: int | None) -> Project:
    """Change a project's quota. Running jobs go on; no more are claimed until fewer run.

    Raises:
        NotFound: There is no such project.
    """
    with write(engine) as connection:
        changed = update(projects).where(projects.c.id == project_id).values(quota=quota).returning(projects.c.id)
        if connection.scalar(changed) is None:
            raise NotFound(f"no project {project_id}")
    return Project(project_id, quota)


def list_all(engine: Engine) -> list[Project]:
    """Read all projects, by name."""
    with read(engine) as connection:
        return [Project(**row._mapping) for row in connection.execute(_COLUMNS.order_by(projects.c.id))]
