"""Data sets: which there are, and the upload of new ones."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from robxfer_api.auth import Reader, Submitter
from robxfer_api.context import Ctx
from robxfer_api.imports import UPLOAD_OPENAPI, dataset_import, submit_import
from robxfer_api.uploads import UPLOAD_RESPONSES, UploadBody
from robxfer_api.views import artifact_page
from robxfer_core.ledger import workers
from robxfer_core.spec.wire.artifacts import DatasetsView
from robxfer_core.spec.wire.experiments import Uploaded
from robxfer_core.spec.wire.queries import ImportDatasetQuery, PageQuery

router = APIRouter(prefix="/v1/datasets", tags=["data sets"])


@router.get("")
def list_datasets(ctx: Ctx, caller: Reader, query: Annotated[PageQuery, Query()]) -> DatasetsView:
    """Lists the data sets that workers can read, and those that jobs have made, newest first."""
    page = artifact_page(ctx.engine, caller.project, "dataset", query)
    return DatasetsView(readable=workers.known_datasets(ctx.engine), artifacts=page)


@router.post("", status_code=202, responses=UPLOAD_RESPONSES, openapi_extra=UPLOAD_OPENAPI)
async def upload_dataset(
    ctx: Ctx,
    caller: Submitter,
    body: UploadBody,
    query: Annotated[ImportDatasetQuery, Query()],
    request: Request,
    response: Response,
) -> Uploaded:
    """Takes images, an .npz or an archive of `train/CLASS/IMAGE`, and submits a job that checks and imports them."""
    return await submit_import(ctx, caller, dataset_import(query), body, request, response)
