"""Workers, tokens and the audit log."""

from typing import Literal

from robxfer_core.spec.states import WorkerState

from .base import Wire


class WorkerView(Wire):
    """A live worker."""

    id: str
    queues: list[str]
    """Queues that it serves."""
    slots: int
    """Jobs that it runs at once."""
    device: str
    """What it computes on."""
    datasets: list[str] = []
    """Names of the data sets that it can read."""
    state: WorkerState = WorkerState.LIVE
    """`live`: workers that have shut down or fallen silent are not listed."""
    seen_at: float
    """Its last heartbeat."""


class TokenView(Wire):
    """A token without its secret, which is not stored."""

    id: str
    name: str
    scope: Literal["read", "submit", "admin"]
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    used_at: float | None = None
    """When it was last used, to the minute."""


class AuditLine(Wire):
    """A line of the audit log: a request for a change, granted or not."""

    id: int
    at: float
    """When the request came."""
    who: str
    """Name of the token; `operator` for the command line, `anyone` in open mode."""
    token_id: str | None = None
    action: str
    """Method and path, such as `POST /v1/experiments/{id}/cancel`."""
    subject: str | None = None
    """Id or name of what was to be changed."""
    status: int | None = None
    """Status of the answer; none until there is one, or where the service was killed before."""
    address: str | None = None
    """Address of the client."""
