"""The trail: who asked for what change, whether it was granted or not. Lines are only ever added and answered."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine, insert, select, update

from .engine import now, read, write
from .tables import audit
from .tokens import hidden

OPERATOR = "operator"
"""Who works on the database itself, with the command line."""
OK, REFUSED, FAILED = 200, 400, 500


@dataclass(frozen=True)
class Line:
    """A line of the trail."""

    id: int
    at: float
    project_id: str | None
    """None: nobody was known."""
    token_id: str | None
    who: str
    action: str
    subject: str | None
    status: int | None
    """Of the answer; none while there is none, and for ever where the service was killed meanwhile."""
    address: str | None


def begin(
    engine: Engine,
    who: str,
    action: str,
    subject: str | None = None,
    *,
    project_id: str | None = None,
    token_id: str | None = None,
    address: str | None = None,
) -> int:
    """Write what is about to be done, before it is done: nothing is done without its line. Returns the line's id."""
    values = {"project_id": project_id, "token_id": token_id, "subject": subject, "address": address}
    with write(engine) as connection:
        put = insert(audit).values(at=now(), who=who, action=action, **values).returning(audit.c.id)
        return connection.execute(put).scalar_one()


def end(engine: Engine, line_id: int, status: int, subject: str | None = None) -> None:
    """Write what came of it. subject: of what has only just been made."""
    known = {"subject": subject} if subject is not None else {}
    with write(engine) as connection:
        connection.execute(update(audit).where(audit.c.id == line_id).values(status=status, **known))


@contextmanager
def by_operator(engine: Engine, action: str, subject: str, project_id: str | None = None) -> Iterator[None]:
    """The block's work as a line of the operator's; its status is 200, or 400 where it raises."""
    line = begin(engine, OPERATOR, action, hidden(subject), project_id=project_id)
    try:
        yield
    except Exception:
        end(engine, line, REFUSED)
        raise
    end(engine, line, OK)


def page(engine: Engine, project_id: str | None, limit: int = 50, last_id: int | None = None) -> list[Line]:
    """Lines of the project, newest first, those before last_id; of none: all there are."""
    where = [] if project_id is None else [audit.c.project_id == project_id]
    where += [] if last_id is None else [audit.c.id < last_id]
    with read(engine) as connection:
        rows = connection.execute(select(audit).where(*where).order_by(audit.c.id.desc()).limit(limit))
        return [Line(**row._mapping) for row in rows]
