"""Projects: whose experiments, jobs and artifacts are whose, and how many jobs each may run at once."""

import re
from dataclasses import dataclass

from sqlalchemy import Engine, select, update

from .engine import Conflict, Unknown, insert, read, write
from .tables import projects

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_COLUMNS = select(projects.c.id, projects.c.quota)


@dataclass(frozen=True)
class Project:
    id: str
    """Its name too."""
    quota: int | None
    """Jobs that may run at once; none: as many as there are slots."""


def create(engine: Engine, name: str, quota: int | None = None) -> Project:
    """A new project. Raises ValueError for a name of another form, Conflict where there is one of this name."""
    if not NAME.fullmatch(name):
        raise ValueError(f"a project's name is {name!r}; takes up to 40 small letters, digits and -")
    with write(engine) as connection:
        put = insert(connection, projects).values(id=name, name=name, quota=quota)
        if connection.scalar(put.on_conflict_do_nothing().returning(projects.c.id)) is None:
            raise Conflict(f"there is a project {name}")
    return Project(name, quota)


def get(engine: Engine, project_id: str) -> Project:
    """Raises Unknown."""
    with read(engine) as connection:
        row = connection.execute(_COLUMNS.where(projects.c.id == project_id)).one_or_none()
    if row is None:
        raise Unknown(f"no project {project_id}")
    return Project(**row._mapping)


def set_quota(engine: Engine, project_id: str, quota: int | None) -> Project:
    """Jobs that run stay; no more are claimed until fewer do. Raises Unknown."""
    with write(engine) as connection:
        changed = update(projects).where(projects.c.id == project_id).values(quota=quota).returning(projects.c.id)
        if connection.scalar(changed) is None:
            raise Unknown(f"no project {project_id}")
    return Project(project_id, quota)


def all_projects(engine: Engine) -> list[Project]:
    """By name."""
    with read(engine) as connection:
        return [Project(**row._mapping) for row in connection.execute(_COLUMNS.order_by(projects.c.id))]
