"""Authentication and authorisation: who sends a request, and which scope a route requires."""

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request
from sqlalchemy import Engine

from robxfer_core.ledger import tokens
from robxfer_core.ledger.tables import SCOPES
from robxfer_core.settings import Settings

from .errors import HTTPProblem

Scope = Literal["read", "submit", "admin"]


@dataclass(frozen=True)
class Caller:
    """Who sends a request."""

    project: str
    name: str | None
    """Name of the token; none in open mode."""
    token_id: str | None
    scope: str


ANYONE = Caller(project="default", name=None, token_id=None, scope="admin")
"""Every caller in open mode."""


def authenticate(settings: Settings, engine: Engine, authorization: str) -> Caller | None:
    """Finds the caller of a request.

    Args:
        settings: In open mode everyone is a caller.
        engine: The ledger's engine.
        authorization: The header Authorization; empty where there is none.

    Returns:
        The caller; None where a token is required and this one is unknown, expired or revoked.
    """
    if settings.access == "open":
        return ANYONE
    token = tokens.find(engine, _secret(authorization))
    return Caller(token.project_id, token.name, token.id, token.scope) if token else None


def _secret(authorization: str) -> str:
    """The token in the header: a bearer token, or the password of basic authentication, which browsers ask for."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials.strip(), validate=True).decode("ascii").partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return ""


def rate_limit_key(caller: Caller | None, address: str) -> str:
    """What a caller's requests are counted by: the token, or where there is none, the address."""
    return caller.token_id if caller and caller.token_id else address


class RequireScope:
    """A dependency of routes: refuses callers whose token lacks the scope.

    Args:
        scope: The scope that the route requires. A scope includes those before it: read, submit, admin.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def __call__(self, request: Request) -> Caller:
        """Returns the caller, which the middleware has found.

        Raises:
            HTTPProblem: 403, the caller's scope is smaller.
        """
        caller: Caller = request.state.caller
        if SCOPES.index(caller.scope) < SCOPES.index(self.scope):
            raise HTTPProblem(403, f"This takes a token of scope {self.scope}; {caller.name} has {caller.scope}.")
        return caller


Reader = Annotated[Caller, Depends(RequireScope("read"))]
Submitter = Annotated[Caller, Depends(RequireScope("submit"))]
Admin = Annotated[Caller, Depends(RequireScope("admin"))]
