"""Models: which there are, and the upload of new ones."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from robxfer_api.auth import Reader, Submitter
from robxfer_api.context import Ctx
from robxfer_api.imports import UPLOAD_OPENAPI, model_import, submit_import
from robxfer_api.uploads import UPLOAD_RESPONSES, UploadBody
from robxfer_api.views import artifact_page
from robxfer_core.spec.wire.artifacts import ArtifactView
from robxfer_core.spec.wire.base import Page
from robxfer_core.spec.wire.experiments import Uploaded
from robxfer_core.spec.wire.queries import ImportModelQuery, PageQuery

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("")
def list_models(ctx: Ctx, caller: Reader, query: Annotated[PageQuery, Query()]) -> Page[ArtifactView]:
    """Lists the models that jobs have made, newest first."""
    return artifact_page(ctx.engine, caller.project, "model", query)


@router.post("", status_code=202, responses=UPLOAD_RESPONSES, openapi_extra=UPLOAD_OPENAPI)
async def upload_model(
    ctx: Ctx,
    caller: Submitter,
    body: UploadBody,
    query: Annotated[ImportModelQuery, Query()],
    request: Request,
    response: Response,
) -> Uploaded:
    """Takes weights, a .safetensors or a PyTorch file, and submits a job that checks, imports and measures them.

    The accuracy is measured where a data set is named.
    """
    return await submit_import(ctx, caller, model_import(query), body, request, response)
