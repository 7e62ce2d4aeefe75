"""Tokens: who may do what in a project. A token is 256 random bits, shown once; the ledger keeps its sha256."""

import hashlib
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Engine, and_, exists, func, or_, select, update

from .engine import Conflict, NotFound, insert, now, read, write
from .ids import new_id
from .paging import KeysetPage, after_cursor, page_of
from .tables import projects, tokens

USED_AT_STEP_S = 60.0
"""Resolution of `used_at`: a token in use is written so often and no more."""

NAME = re.compile(r"(?!tok_)[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
_SECRET = re.compile(r"rbx_[A-Za-z0-9_-]{43}")
_SECRET_LIKE = re.compile(r"rbx_[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Token:
    """A token without its secret. Times are in seconds since the epoch."""

    id: str
    project_id: str
    name: str
    scope: str
    """read, submit or admin."""
    created_at: float
    expires_at: float | None
    """None: never."""
    revoked_at: float | None
    """None: not revoked."""
    used_at: float | None
    """When it was last used, to a minute; None: never."""


_COLUMNS = [tokens.c[name] for name in Token.__annotations__]


def create(engine: Engine, project_id: str, name: str, scope: str, expires_s: float | None = None) -> tuple[Token, str]:
    """Create a token.

    Args:
        engine: The database.
        project_id: The project.
        name: Up to 60 letters, digits and `. _ -`, not beginning with `tok_`. The audit log names the token by it.
        scope: read, submit or admin.
        expires_s: Seconds from now for which it is valid; None: until it is revoked.

    Returns:
        The token and its secret, which cannot be read again.

    Raises:
        ValueError: The name is of another form.
        NotFound: There is no such project.
        Conflict: The project has, or had, a token of this name.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"a token's name is {name!r}; takes up to 60 letters, digits and . _ -, and no tok_ in front")
    secret = "rbx_" + secrets.token_urlsafe(32)
    with write(engine) as connection:
        if not connection.scalar(select(exists().where(projects.c.id == project_id))):
            raise NotFound(f"no project {project_id}")
        put = insert(connection, tokens).values(
            id=new_id("tok"),
            project_id=project_id,
            name=name,
            sha256=_digest(secret),
            scope=scope,
            created_at=now(),
            expires_at=None if expires_s is None else now() + expires_s,
        )
        row = connection.execute(
            put.on_conflict_do_nothing(index_elements=["project_id", "name"]).returning(*_COLUMNS)
        ).one_or_none()
    if row is None:
        raise Conflict(f"the project {project_id} has, or had, a token {name}")
    return Token(**row._mapping), secret


def find(engine: Engine, secret: str) -> Token | None:
    """Find the token with a secret; None where there is none, it has expired or was revoked."""
    if not _SECRET.fullmatch(secret):
        return None
    stale = or_(tokens.c.used_at.is_(None), tokens.c.used_at < now() - USED_AT_STEP_S)
    with read(engine) as connection:
        row = connection.execute(
            select(*_COLUMNS, stale.label("stale")).where(tokens.c.sha256 == _digest(secret), _is_valid())
        ).one_or_none()
    if row is None:
        return None
    if row.stale:
        with write(engine) as connection:
            connection.execute(update(tokens).where(tokens.c.id == row.id, stale).values(used_at=now()))
    return Token(**{name: getattr(row, name) for name in Token.__annotations__})


def valid_ids(engine: Engine, ids: Collection[str]) -> set[str]:
    """Of the tokens with these ids, those that have neither expired nor been revoked."""
    with read(engine) as connection:
        return set(connection.scalars(select(tokens.c.id).where(tokens.c.id.in_(ids), _is_valid())))


def revoke(engine: Engine, project_id: str, token: str) -> Token:
    """Revoke a token. One that is revoked already stays as it is.

    Args:
        engine: The database.
        project_id: The project.
        token: The token's id or its name.

    Raises:
        NotFound: The project has no such token.
    """
    column = tokens.c.id if token.startswith("tok_") else tokens.c.name
    with write(engine) as connection:
        row = connection.execute(
            update(tokens)
            .where(tokens.c.project_id == project_id, column == token)
            .values(revoked_at=func.coalesce(tokens.c.revoked_at, now()))
            .returning(*_COLUMNS)
        ).one_or_none()
    if row is None:
        raise NotFound(f"no token {token} in the project {project_id}")
    return Token(**row._mapping)


def redact(text: str) -> str:
    """Remove secrets of tokens from a text: users type them where an id or a name is asked for."""
    return _SECRET_LIKE.sub("rbx_...", text)


def page(engine: Engine, project_id: str, limit: int = 50, cursor: str | None = None) -> KeysetPage[Token]:
    """Read a page of the project's tokens, newest first, with those that are no longer valid.

    Raises:
        BadCursor: No page has returned this cursor.
    """
    where = (tokens.c.project_id == project_id, *after_cursor(tokens.c.id, cursor))
    query = select(*_COLUMNS).where(*where).order_by(tokens.c.id.desc()).limit(limit + 1)
    with read(engine) as connection:
        return page_of([Token(**row._mapping) for row in connection.execute(query)], limit)


def _is_valid() -> ColumnElement[bool]:
    return and_(tokens.c.revoked_at.is_(None), or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now()))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
