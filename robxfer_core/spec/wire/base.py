"""What all answers share: pages of lists, errors, and whether a service can work.

Times are float seconds since the epoch, by the database's clock. A client takes fields that it does not know yet.
"""

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

T = TypeVar("T")


class Wire(BaseModel):
    """What all answers share."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class Page(Wire, Generic[T]):
    """One page of a list, newest first."""

    items: list[T]
    next: str | None = None
    """The `cursor` of the next page; none on the last."""


class FieldError(Wire):
    """One thing wrong with a request."""

    at: str
    """The place, such as `jobs.source.threat.eps` or `query.limit`."""
    got: str
    takes: str


class ProblemView(Wire):
    """An error, as RFC 9457 problem+json."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    errors: list[FieldError] = []


class Health(Wire):
    """Whether a service can work; `missing` names what it lacks and why."""

    ok: bool
    missing: dict[str, str] = {}
