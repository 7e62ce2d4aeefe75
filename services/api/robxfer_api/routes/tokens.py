"""Tokens of a project, for its administrators. Tokens are made on the command line only."""

from typing import Annotated

from fastapi import APIRouter, Query

from robxfer_api.auth import Admin
from robxfer_api.context import Ctx
from robxfer_core.ledger import tokens
from robxfer_core.spec.wire.base import Page
from robxfer_core.spec.wire.operating import TokenView
from robxfer_core.spec.wire.queries import PageQuery

from .parameters import Id

router = APIRouter(prefix="/v1/tokens", tags=["access"])


@router.get("")
def list_tokens(ctx: Ctx, caller: Admin, query: Annotated[PageQuery, Query()]) -> Page[TokenView]:
    """Lists the project's tokens, newest first, without their secrets."""
    page = tokens.page(ctx.engine, caller.project, query.limit, query.cursor)
    return Page(items=[_view(token) for token in page.items], next=page.next)


@router.delete("/{id}")
def revoke_token(ctx: Ctx, caller: Admin, id: Id) -> TokenView:
    """Ends a token at once; what it submitted goes on. A token that is revoked already stays as it is."""
    return _view(tokens.revoke(ctx.engine, caller.project, id))


def _view(token: tokens.Token) -> TokenView:
    return TokenView.model_validate(token, from_attributes=True)
