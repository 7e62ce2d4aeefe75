"""What all answers share: pages of lists, errors and readiness.

Times are seconds since the epoch by the database's clock. A client ignores fields that it does not know.
"""

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

T = TypeVar("T")


class Wire(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class Page(Wire, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: str | None = None
    """The `cursor` of the next page; none on the last page."""


class FieldError(Wire):
    """One thing that is wrong in a request."""

    at: str
    """Where: `jobs.source.threat.eps`, `query.limit`."""
    got: str
    """The value that was sent, shortened."""
    takes: str
    """The values that are allowed."""


class ProblemView(Wire):
    """An error, as RFC 9457 problem+json."""

    type: str = "about:blank"
    """URN of the kind of problem; `about:blank` where the status says it all."""
    title: str
    """Short text for the type."""
    status: int
    """HTTP status."""
    detail: str = ""
    """What is wrong, for people."""
    errors: list[FieldError] = []
    """Everything that is wrong in the request."""


class Health(Wire):
    """Whether the service can work."""

    ok: bool
    missing: dict[str, str] = {}
    """What is wrong, by the name of the check: `database`, `migrations`, `broker`, `store`."""
