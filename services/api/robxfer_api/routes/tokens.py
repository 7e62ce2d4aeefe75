"""Who may use a project, and who did what in it: for its administrators. Tokens are made on the command line alone."""

from fastapi import APIRouter

from robxfer_api.auth import Admin
from robxfer_api.context import Ctx, Cursor, Id, Limit
from robxfer_api.errors import whole
from robxfer_core.ledger import audit, tokens
from robxfer_core.spec.wire.base import Page
from robxfer_core.spec.wire.operating import AuditLine, TokenView

router = APIRouter(prefix="/v1", tags=["access"])


@router.get("/tokens")
def list_tokens(ctx: Ctx, caller: Admin, limit: Limit = 50, cursor: Cursor = None) -> Page[TokenView]:
    """The project's tokens, newest first, without their secrets."""
    found = tokens.page(ctx.engine, caller.project, limit, cursor)
    return Page(items=[_view(each) for each in found.items], next=found.next)


@router.delete("/tokens/{id}")
def revoke_token(ctx: Ctx, caller: Admin, id: Id) -> TokenView:
    """Ends a token at once; what it submitted goes on. Of one that is revoked, nothing changes."""
    return _view(tokens.revoke(ctx.engine, caller.project, id))


@router.get("/audit")
def trail(ctx: Ctx, caller: Admin, limit: Limit = 50, cursor: Cursor = None) -> Page[AuditLine]:
    """Who asked for what change in the project, granted or not, newest first."""
    last = whole(cursor, cursor) if cursor is not None else None
    lines = audit.page(ctx.engine, caller.project, limit, last)
    items = [AuditLine.model_validate(each, from_attributes=True) for each in lines]
    return Page(items=items, next=str(items[-1].id) if len(items) == limit else None)


def _view(token: tokens.Token) -> TokenView:
    return TokenView.model_validate(token, from_attributes=True)
