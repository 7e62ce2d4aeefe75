"""The audit log of a project, for its administrators."""

from typing import Annotated

from fastapi import APIRouter, Query

from robxfer_api.auth import Admin
from robxfer_api.context import Ctx
from robxfer_api.errors import cursor_integer
from robxfer_core.ledger import audit
from robxfer_core.spec.wire.base import Page
from robxfer_core.spec.wire.operating import AuditLine
from robxfer_core.spec.wire.queries import PageQuery

router = APIRouter(prefix="/v1/audit", tags=["access"])


@router.get("")
def list_audit(ctx: Ctx, caller: Admin, query: Annotated[PageQuery, Query()]) -> Page[AuditLine]:
    """Lists who asked for which change in the project, granted or not, newest first."""
    last_id = cursor_integer(query.cursor, query.cursor) if query.cursor is not None else None
    lines = audit.page(ctx.engine, caller.project, query.limit, last_id)
    items = [AuditLine.model_validate(line, from_attributes=True) for line in lines]
    return Page(items=items, next=str(items[-1].id) if len(items) == query.limit else None)
