"""Tokens: who may ask for what in a project. A token is 256 random bits that are told once; its sha256 is kept."""

import hashlib
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Engine, and_, exists, func, or_, select, update

from .engine import Conflict, Unknown, insert, now, read, write
from .ids import new_id
from .paging import Page, before, page_of
from .tables import projects, tokens

USED_EVERY_S = 60.0
"""How often it is written down that a token is used."""

NAME = re.compile(r"(?!tok_)[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
_FORM = re.compile(r"rbx_[A-Za-z0-9_-]{43}")
_LIKE = re.compile(r"rbx_[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Token:
    """A token without its secret. Times are seconds since the epoch."""

    id: str
    project_id: str
    name: str
    scope: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    used_at: float | None
    """When it was last used, to a minute."""


_COLUMNS = [tokens.c[name] for name in Token.__annotations__]


def create(engine: Engine, project_id: str, name: str, scope: str, expires_s: float | None = None) -> tuple[Token, str]:
    """A new token of the project and its secret, which is told here and never again.

    expires_s: seconds from now for which it holds; none: until it is revoked. Raises ValueError for a name of another
    form, Unknown where there is no such project, Conflict where it had a token of this name before: names tell in the
    trail who did what.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"a token's name is {name!r}; takes up to 60 letters, digits and . _ -, and no tok_ in front")
    secret = "rbx_" + secrets.token_urlsafe(32)
    with write(engine) as connection:
        if not connection.scalar(select(exists().where(projects.c.id == project_id))):
            raise Unknown(f"no project {project_id}")
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
    """The token with this secret, where it holds; none where it is unknown, has expired or is revoked."""
    if not _FORM.fullmatch(secret):
        return None
    stale = or_(tokens.c.used_at.is_(None), tokens.c.used_at < now() - USED_EVERY_S)
    with read(engine) as connection:
        row = connection.execute(
            select(*_COLUMNS, stale.label("stale")).where(tokens.c.sha256 == _digest(secret), _holds())
        ).one_or_none()
    if row is None:
        return None
    if row.stale:
        with write(engine) as connection:
            connection.execute(update(tokens).where(tokens.c.id == row.id, stale).values(used_at=now()))
    return Token(**{name: getattr(row, name) for name in Token.__annotations__})


def holding(engine: Engine, ids: Collection[str]) -> set[str]:
    """Those of the tokens, by id, that have neither expired nor been revoked."""
    with read(engine) as connection:
        return set(connection.scalars(select(tokens.c.id).where(tokens.c.id.in_(ids), _holds())))


def revoke(engine: Engine, project_id: str, token: str) -> Token:
    """End a token, by its id or its name. One that is revoked stays as it is. Raises Unknown."""
    column = tokens.c.id if token.startswith("tok_") else tokens.c.name
    with write(engine) as connection:
        row = connection.execute(
            update(tokens)
            .where(tokens.c.project_id == project_id, column == token)
            .values(revoked_at=func.coalesce(tokens.c.revoked_at, now()))
            .returning(*_COLUMNS)
        ).one_or_none()
    if row is None:
        raise Unknown(f"no token {token} in the project {project_id}")
    return Token(**row._mapping)


def hidden(text: str) -> str:
    """Text without the secrets in it: they may stand where a token's id or name was asked for."""
    return _LIKE.sub("rbx_...", text)


def page(engine: Engine, project_id: str, limit: int = 50, cursor: str | None = None) -> Page[Token]:
    """Tokens of the project, newest first, those that hold no more among them. Raises BadCursor."""
    where = (tokens.c.project_id == project_id, *before(tokens.c.id, cursor))
    query = select(*_COLUMNS).where(*where).order_by(tokens.c.id.desc()).limit(limit + 1)
    with read(engine) as connection:
        return page_of([Token(**row._mapping) for row in connection.execute(query)], limit)


def _holds() -> ColumnElement[bool]:
    return and_(tokens.c.revoked_at.is_(None), or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now()))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
