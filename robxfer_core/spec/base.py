"""What every part of a spec is made of: strict models, references to jobs, canonical JSON and keys."""

import hashlib
from collections.abc import Iterator
from typing import Annotated, Any

import rfc8785
from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class Strict(BaseModel):
    """A frozen model that refuses unknown keys, NaN and silent conversions ("1" is not 1)."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Ref(str):
    """The name of another job of the spec; after planning, that job's key.

    A reference to a job with a matrix fans out: the job that refers gets one member for each of the other's.
    """

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(min_length=1, max_length=300), serialization=core_schema.to_string_ser_schema()
        )


class Gather(Ref):
    """A reference that takes every member of the job it names, and does not fan out."""

    __slots__ = ()


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Refs = Annotated[list[Gather], BeforeValidator(_as_list)]


def references(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Ref]]:
    """Every reference inside a validated model, with its place: ('arms', 0, 'transfers', 1)."""
    if isinstance(value, Ref):
        yield at, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from references(getattr(value, name), (*at, name))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from references(item, (*at, index))


def canonical(value: Any) -> bytes:
    """RFC 8785 canonical JSON: equal values give equal bytes. Raises ValueError on NaN and integers from 2**53 on."""
    return rfc8785.dumps(value)


def digest(value: Any) -> str:
    """sha256, in hex, of the canonical JSON of a value."""
    return hashlib.sha256(canonical(value)).hexdigest()
