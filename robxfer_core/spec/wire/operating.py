"""What operators look at: workers, tokens, and the trail of who asked for what."""

from typing import Literal

from .base import Wire


class WorkerView(Wire):
    """A live worker."""

    id: str
    queues: list[str]
    slots: int
    device: str
    datasets: list[str] = []
    state: str = ""
    seen_at: float


class TokenView(Wire):
    """A token without its secret, which is kept nowhere."""

    id: str
    name: str
    scope: Literal["read", "submit", "admin"]
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    used_at: float | None = None
    """When it was last used, to a minute."""


class AuditLine(Wire):
    """Who asked for what change, and what came of it."""

    id: int
    at: float
    who: str
    """The name of the token; `operator` for the command line, `anyone` where no token was asked for."""
    token_id: str | None = None
    action: str
    subject: str | None = None
    """The id or the name of what it was done to."""
    status: int | None = None
    """Of the answer; none while there is none, and for ever where the service was killed meanwhile."""
    address: str | None = None
