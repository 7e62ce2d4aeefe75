"""Workers."""

from fastapi import APIRouter

from robxfer_api.auth import Reader
from robxfer_api.context import Ctx
from robxfer_core.ledger import workers
from robxfer_core.spec.wire.base import Page
from robxfer_core.spec.wire.operating import WorkerView

router = APIRouter(prefix="/v1/workers", tags=["workers"])


@router.get("")
def list_workers(ctx: Ctx, caller: Reader) -> Page[WorkerView]:
    """Lists the live workers."""
    items = [
        WorkerView(
            id=worker.id,
            queues=worker.queues,
            slots=worker.slots,
            device=worker.device,
            datasets=sorted(worker.datasets),
            state=worker.state,
            seen_at=worker.seen_at,
        )
        for worker in workers.list_live(ctx.engine)
    ]
    return Page(items=items)
