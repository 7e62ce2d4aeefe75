"""Who asks, and what they may: the caller of a request, and what its route demands of the caller."""

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request
from sqlalchemy import Engine

from robxfer_core.ledger import tokens
from robxfer_core.ledger.tables import SCOPES
from robxfer_core.settings import Settings

from .errors import Refused

Scope = Literal["read", "submit", "admin"]
REALM = 'realm="robxfer"'


@dataclass(frozen=True)
class Caller:
    """Whose request it is: a token's, or anyone's where none is asked for."""

    project: str
    name: str | None
    """The token's."""
    token_id: str | None
    scope: str


ANYONE = Caller(project="default", name=None, token_id=None, scope="admin")


def key_of(caller: Caller | None, address: str) -> str:
    """By what a caller's requests are counted: the token, or where there is none, the address."""
    return caller.token_id if caller and caller.token_id else address


def caller_of(settings: Settings, engine: Engine, authorization: str) -> Caller | None:
    """Who asks, by the header Authorization; none where a token is asked for and this is none that holds."""
    if settings.access == "open":
        return ANYONE
    token = tokens.find(engine, _secret(authorization))
    return Caller(token.project_id, token.name, token.id, token.scope) if token else None


def _secret(authorization: str) -> str:
    """The token in the header: `Bearer TOKEN`, or as a browser's password, which it asks its reader for."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(given.strip(), validate=True).decode("ascii").partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return ""


class Needs:
    """The dependency of a route that asks for a scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def __call__(self, request: Request) -> Caller:
        caller: Caller = request.state.caller
        if SCOPES.index(caller.scope) < SCOPES.index(self.scope):
            raise Refused(403, f"This takes a token of scope {self.scope}; {caller.name} has {caller.scope}.")
        return caller


Reader = Annotated[Caller, Depends(Needs("read"))]
Submitter = Annotated[Caller, Depends(Needs("submit"))]
Admin = Annotated[Caller, Depends(Needs("admin"))]
