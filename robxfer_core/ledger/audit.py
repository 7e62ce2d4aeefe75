"""The audit log: who asked for which change, granted or not. Lines are only ever added, and completed once."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Engine, insert, select, update

from .engine import now, read, write
from .tables import audit
from .tokens import redact

OPERATOR_OK, OPERATOR_FAILED = 200, 400
"""Statuses of an operator's work, like those of HTTP answers."""


class Actor(NamedTuple):
    """Who asks."""

    name: str
    """The name of the token; `operator` for the command line, `anyone` where no token was needed, else `unknown`."""
    project_id: str | None = None
    """The project of the token; None where nobody was identified."""
    token_id: str | None = None
    address: str | None = None
    """The client's IP address."""


@dataclass(frozen=True)
class AuditRecord:
    """A line of the audit log."""

    id: int
    at: float
    """Seconds since the epoch."""
    project_id: str | None
    """None: nobody was identified."""
    token_id: str | None
    who: str
    """The name of the actor."""
    action: str
    """Such as `POST /v1/experiments` or `token create`."""
    subject: str | None
    """Id or name of the thing that the action was for."""
    status: int | None
    """Status of the answer. None until there is one, and for ever where the service was killed meanwhile."""
    address: str | None


def begin(engine: Engine, actor: Actor, action: str, subject: str | None = None) -> int:
    """Write a line before its action is carried out, so that nothing is done without a line.

    Returns:
        The id of the line, for `end`.
    """
    with write(engine) as connection:
        line = insert(audit).values(
            at=now(),
            who=actor.name,
            project_id=actor.project_id,
            token_id=actor.token_id,
            address=actor.address,
            action=action,
            subject=subject,
        )
        return connection.execute(line.returning(audit.c.id)).scalar_one()


def end(engine: Engine, line_id: int, status: int, subject: str | None = None) -> None:
    """Complete a line.

    Args:
        engine: The database.
        line_id: The result of `begin`.
        status: Status of the answer.
        subject: Id of what the action has created; None leaves the subject as it is.
    """
    values = {"status": status} | ({"subject": subject} if subject is not None else {})
    with write(engine) as connection:
        connection.execute(update(audit).where(audit.c.id == line_id).values(values))


@contextmanager
def by_operator(engine: Engine, action: str, subject: str, project_id: str | None = None) -> Iterator[None]:
    """Log the work of a block as the operator's, with status 200, or 400 where the block raises."""
    line = begin(engine, Actor("operator", project_id), action, redact(subject))
    try:
        yield
    except Exception:
        end(engine, line, OPERATOR_FAILED)
        raise
    end(engine, line, OPERATOR_OK)


def page(engine: Engine, project_id: str | None, limit: int = 50, last_id: int | None = None) -> list[AuditRecord]:
    """Read lines, newest first.

    Args:
        engine: The database.
        project_id: Only lines of this project; None for all.
        limit: How many.
        last_id: Only lines before this id.
    """
    where = [] if project_id is None else [audit.c.project_id == project_id]
    where += [] if last_id is None else [audit.c.id < last_id]
    with read(engine) as connection:
        rows = connection.execute(select(audit).where(*where).order_by(audit.c.id.desc()).limit(limit))
        return [AuditRecord(**row._mapping) for row in rows]
