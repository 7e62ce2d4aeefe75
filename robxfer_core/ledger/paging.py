"""Keyset pages, newest first: a cursor holds the last id seen, so pages neither slow down nor shift."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import ColumnElement


class BadCursor(ValueError):
    """A cursor that no page gave."""


class HasId(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=HasId)


@dataclass(frozen=True)
class Page(Generic[T]):
    items: list[T]
    next: str | None
    """The cursor of the next page; None on the last."""


def before(column: ColumnElement[Any], cursor: str | None) -> list[ColumnElement[bool]]:
    """The condition that a row comes after the cursor's."""
    if cursor is None:
        return []
    try:
        last = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        last = ""
    if not re.fullmatch(r"[a-z]{3}_[0-9a-z]{26}", last):
        raise BadCursor(f"not a cursor: {cursor[:60]!r}")
    return [column < last]


def page_of(found: Sequence[T], limit: int) -> Page[T]:
    """A page of at most `limit` items, of one more that were asked for."""
    items = list(found[:limit])
    more = len(found) > limit
    return Page(items, base64.urlsafe_b64encode(items[-1].id.encode()).decode().rstrip("=") if more else None)
