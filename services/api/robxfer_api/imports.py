"""Imports of uploads: the body is stored unread, and one job that checks and imports it is submitted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from robxfer_core.ledger import experiments
from robxfer_core.planning.experiment import Experiment
from robxfer_core.planning.plan import Plan, make_plan
from robxfer_core.spec.archs import LAYOUTS
from robxfer_core.spec.datasets import DatasetInfo
from robxfer_core.spec.wire.experiments import Uploaded
from robxfer_core.spec.wire.queries import ImportDatasetQuery, ImportModelQuery, channel_values

from .audit import client_address
from .auth import Caller, rate_limit_key
from .context import ApiContext
from .datasets import readable_datasets
from .uploads import MEDIA_TYPES, UploadRequest, store_upload
from .views import experiment_view

UNKNOWN_SHA256 = "0" * 64
"""Stands for the upload's sha256 while it is not known."""
RUN = {"retries": 0, "deadline_s": 6 * 3600}  # a file that cannot be read stays so, and is not tried again
UPLOAD_OPENAPI = {
    "requestBody": {
        "content": {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in MEDIA_TYPES},
        "required": True,
    }
}
"""Describes the body in /openapi.json."""


@dataclass(frozen=True)
class Import:
    """An import that is wanted: a spec without the upload's sha256."""

    name: str
    queue: str
    jobs: Mapping[str, Mapping[str, Any]]
    """Jobs of the spec; the one named `import` takes the upload."""

    def plan(self, sha256: str, datasets: Mapping[str, DatasetInfo] | None) -> tuple[dict[str, Any], Plan]:
        """Makes the spec and its plan.

        Raises:
            SpecError: The parameters are wrong.
        """
        jobs = {name: _without_none(job) for name, job in self.jobs.items()}
        jobs["import"]["upload"] = sha256
        for job in jobs.values():
            if job["kind"] == "dataset" and _has_one_size(job["name"], datasets):
                del job["size"]  # arrays have one size already; the network's first layer resizes them
        spec = {"name": f"import {self.name}", "run": {**RUN, "queue": self.queue}, "jobs": jobs}
        return spec, make_plan(Experiment.model_validate(spec), datasets)


def _has_one_size(name: str, datasets: Mapping[str, DatasetInfo] | None) -> bool:
    info = (datasets or {}).get(name)
    return info is not None and info["shape"] is not None


def _without_none(job: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in job.items() if value is not None}


def dataset_import(query: ImportDatasetQuery) -> Import:
    """The import of a data set."""
    job = {"kind": "import_dataset", **query.model_dump(exclude={"queue"})}
    return Import(query.name, query.queue, {"import": job})


def model_import(query: ImportModelQuery) -> Import:
    """The import of a model, with the data set on which its accuracy is measured, if one is named."""
    job = {
        "kind": "import_model",
        "arch": {"name": query.arch, "width": query.width, "input_size": query.input_size},
        "mean": query.mean and channel_values(query.mean),
        "std": query.std and channel_values(query.std),
        "moments": query.moments,
        "dataset": "images" if query.dataset else None,
        "threat": {"norm": query.norm, "eps": query.eps},
        "seed": query.seed,
    }
    if query.dataset is None:
        return Import(query.arch, query.queue, {"import": job})
    side = query.input_size or {"imagenet": 224}.get(LAYOUTS[query.arch].stem, 32)
    images = {"kind": "dataset", "name": query.dataset, "size": side}
    return Import(query.arch, query.queue, {"import": job, "images": images})


async def submit_import(
    ctx: ApiContext, caller: Caller, wanted: Import, upload_request: UploadRequest, request: Request, response: Response
) -> Uploaded:
    """Stores an upload and submits its import.

    Args:
        ctx: The app's context.
        caller: Who uploads.
        wanted: What to import the upload as. It is planned before anything of the body is read.
        upload_request: The body.
        request: Gives the client's address.
        response: Gets the header Location.

    Returns:
        The submitted experiment.

    Raises:
        SpecError: The parameters are wrong.
        HTTPProblem: The upload cannot be stored.
    """
    datasets = await run_in_threadpool(readable_datasets, ctx)
    wanted.plan(UNKNOWN_SHA256, datasets)
    with ctx.uploads.hold(rate_limit_key(caller, client_address(request))):
        upload = await store_upload(ctx, caller.project, upload_request, caller.name)

    def submit() -> Uploaded:
        spec, plan = wanted.plan(upload.sha256, datasets)
        submission = experiments.submit(ctx.engine, caller.project, spec, plan, created_by=caller.name)
        ctx.notify_workers(submission.queues_ready)
        view = experiment_view(ctx.engine, caller.project, submission.experiment_id)
        return Uploaded(**dict(view), upload=upload.sha256)

    submitted = await run_in_threadpool(submit)
    response.headers["Location"] = f"/v1/experiments/{submitted.id}"
    return submitted
