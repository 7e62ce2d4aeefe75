"""Keyset pages, newest first. A cursor holds the last id of its page, so that pages neither slow down nor shift."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import ColumnElement


class BadCursor(ValueError):
    """A cursor that no page has returned."""


class HasId(Protocol):
    """A row with an id."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=HasId)


@dataclass(frozen=True)
class KeysetPage(Generic[T]):
    """One page of a list."""

    items: list[T]
    next: str | None
    """The cursor of the next page; None on the last."""


def after_cursor(column: ColumnElement[Any], cursor: str | None) -> list[ColumnElement[bool]]:
    """Build the condition that a row comes after a cursor.

    Args:
        column: The id by which rows are ordered, newest first.
        cursor: The `next` of the page before; None for the first page.

    Returns:
        One condition, or none for the first page.

    Raises:
        BadCursor: No page has returned this cursor.
    """
    if cursor is None:
        return []
    try:
        last = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        last = ""
    if not re.fullmatch(r"[a-z]{3}_[0-9a-z]{26}", last):
        raise BadCursor(f"not a cursor: {cursor[:60]!r}")
    return [column < last]


def page_of(rows: Sequence[T], limit: int) -> KeysetPage[T]:
    """Build a page.

    Args:
        rows: Up to `limit + 1` rows; one more than the page holds says that there is a next page.
        limit: Rows on the page.
    """
    items = list(rows[:limit])
    if len(rows) <= limit:
        return KeysetPage(items, None)
    return KeysetPage(items, base64.urlsafe_b64encode(items[-1].id.encode()).decode().rstrip("="))
