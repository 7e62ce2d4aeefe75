"""Types of columns, and a constraint that a column holds one of some values."""

from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import JSON, BigInteger, CheckConstraint, Dialect, Integer, String, Text, TypeDecorator
from sqlalchemy.types import TypeEngine

Id = String(40)
"""An id made by `ids.new_id`."""
Serial = BigInteger().with_variant(Integer, "sqlite")
"""A number that counts up. SQLite does so only in a column of type INTEGER."""
Json = JSON(none_as_null=True)
"""JSON; None is stored as null."""


class EnumText(TypeDecorator[StrEnum]):
    """A column of text that holds the values of a StrEnum and is read as its members."""

    impl = Text
    cache_ok = True

    def __init__(self, enum: type[StrEnum], stored_as: TypeEngine[str]) -> None:
        """Create the type.

        Args:
            enum: The values.
            stored_as: The type of text that the database knows.
        """
        super().__init__()
        self.enum, self.stored_as = enum, stored_as
        self.impl = stored_as

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:
        """The text to store."""
        return None if value is None else str(self.enum(value))

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:
        """The member that was stored."""
        return None if value is None else self.enum(value)


def one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    """Build the CHECK constraint, named by the column, that a column holds one of some values."""
    return CheckConstraint("{} in ({})".format(column, ", ".join(f"'{value}'" for value in values)), name=column)
