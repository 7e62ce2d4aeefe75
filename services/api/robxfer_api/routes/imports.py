"""Uploads: bytes go to the store as they come and are never looked into here; an import job checks them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from robxfer_api.audit import address_of
from robxfer_api.auth import Caller, Submitter, key_of
from robxfer_api.context import Ctx
from robxfer_api.datasets import readable_datasets
from robxfer_api.errors import wrong_query
from robxfer_api.rate_limit import LARGE
from robxfer_api.uploads import MEDIA, PROBLEMS, Expected, receive
from robxfer_api.views import experiment_view
from robxfer_core.ledger import experiments
from robxfer_core.planning.experiment import Experiment
from robxfer_core.planning.plan import Plan, make_plan
from robxfer_core.spec.archs import LAYOUTS
from robxfer_core.spec.datasets import DatasetInfo
from robxfer_core.spec.fields import ArchName, Queue, Seed, SetName
from robxfer_core.spec.wire.experiments import Uploaded

UNKNOWN = "0" * 64  # in place of the sha256 that is known once all has come
RUN = {"retries": 0, "deadline_s": 6 * 3600}  # what cannot be read will not be readable later
BODY = {"content": {media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA}, "required": True}

LARGE |= {
    ("POST", f"/v1/{what}"): lambda settings: int(settings.max_upload_gb * 1e9) for what in ("datasets", "models")
}

router = APIRouter(prefix="/v1", tags=["uploads"])
Side = Annotated[int | None, Query(ge=4, le=1024)]
Most = Annotated[int | None, Query(ge=2, lt=2**53)]  # what JSON holds exactly
Numbers = Annotated[str | None, Query(max_length=100, description="numbers, separated by commas, one a channel")]
Waits = Annotated[Queue, Query(description="of the import job")]


@router.post("/datasets", status_code=202, responses=PROBLEMS, openapi_extra={"requestBody": BODY})
async def dataset(
    ctx: Ctx,
    caller: Submitter,
    sha256: Expected,
    request: Request,
    response: Response,
    name: Annotated[SetName, Query()],
    size: Side = None,
    interpolation: Literal["bilinear", "nearest"] = "bilinear",
    max_train: Most = None,
    max_test: Most = None,
    seed: Annotated[Seed, Query()] = 0,
    queue: Waits = "cpu",
) -> Uploaded:
    """Takes a set of images, an .npz or an archive of `train/CLASS/IMAGE`, and has a job check and import it."""
    job = {"kind": "import_dataset", "name": name, "size": size, "interpolation": interpolation}
    job |= {"max_train": max_train, "max_test": max_test, "seed": seed}
    return await _import(ctx, caller, request, response, sha256, name, {"import": job}, queue)


@router.post("/models", status_code=202, responses=PROBLEMS, openapi_extra={"requestBody": BODY})
async def model(
    ctx: Ctx,
    caller: Submitter,
    sha256: Expected,
    request: Request,
    response: Response,
    arch: ArchName,
    width: Annotated[float, Query(gt=0, le=16)] = 1.0,
    input_size: Side = None,
    mean: Numbers = None,
    std: Numbers = None,
    moments: Literal["imagenet", "cifar10", "cifar100", "mnist", "fashion_mnist"] | None = None,
    dataset: Annotated[SetName | None, Query(description="set whose test split its accuracy is measured on")] = None,
    norm: Literal["l2", "linf"] = "l2",
    eps: Annotated[float, Query(ge=0, le=1000)] = 0.0,
    seed: Annotated[Seed, Query()] = 0,
    queue: Waits = "cpu",
) -> Uploaded:
    """Takes weights, a .safetensors or a PyTorch file, and has a job check, import and, on a data set, measure them."""
    job = {
        "kind": "import_model",
        "arch": {"name": arch, "width": width, "input_size": input_size},
        "mean": _numbers("mean", mean),
        "std": _numbers("std", std),
        "moments": moments,
        "dataset": "images" if dataset else None,
        "threat": {"norm": norm, "eps": eps},
        "seed": seed,
    }
    jobs = {"import": job} | ({"images": _images(dataset, job["arch"])} if dataset else {})
    return await _import(ctx, caller, request, response, sha256, arch, jobs, queue)


async def _import(
    ctx: Ctx,
    caller: Caller,
    request: Request,
    response: Response,
    sha256: str | None,
    name: str,
    jobs: dict[str, dict[str, Any]],
    queue: str,
) -> Uploaded:
    datasets = await run_in_threadpool(readable_datasets, ctx)
    _planned(name, jobs, UNKNOWN, queue, datasets)  # what is asked for is judged before anything is taken
    with ctx.uploads.one(key_of(caller, address_of(request))):
        upload = await receive(ctx, caller.project, request, sha256, caller.name)

    def submit() -> Uploaded:
        spec, plan = _planned(name, jobs, upload.sha256, queue, datasets)
        submission = experiments.submit(ctx.engine, caller.project, spec, plan, created_by=caller.name)
        ctx.ring(submission.queues_ready)
        view = experiment_view(ctx.engine, caller.project, submission.experiment_id)
        return Uploaded(**dict(view), upload=upload.sha256)

    submitted = await run_in_threadpool(submit)
    response.headers["Location"] = f"/v1/experiments/{submitted.id}"
    return submitted


def _has_one_size(name: str, datasets: Mapping[str, DatasetInfo] | None) -> bool:
    info = (datasets or {}).get(name)
    return info is not None and info["shape"] is not None


def _planned(
    name: str, jobs: dict[str, dict[str, Any]], sha256: str, queue: str, datasets: Mapping[str, DatasetInfo] | None
) -> tuple[dict[str, Any], Plan]:
    given = {at: {field: value for field, value in job.items() if value is not None} for at, job in jobs.items()}
    given["import"]["upload"] = sha256
    for job in given.values():
        if job["kind"] == "dataset" and _has_one_size(job["name"], datasets):
            del job["size"]  # arrays are of one size, which the network's first layer changes
    spec = {"name": f"import {name}", "run": {**RUN, "queue": queue}, "jobs": given}
    return spec, make_plan(Experiment.model_validate(spec), datasets)


def _images(name: str, arch: dict[str, Any]) -> dict[str, Any]:
    """The `dataset` job of a set on which a model is measured: a folder of images is brought to the network's side."""
    side = arch["input_size"] or {"imagenet": 224}.get(LAYOUTS[arch["name"]].stem, 32)
    return {"kind": "dataset", "name": name, "size": side}


def _numbers(field: str, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise wrong_query(field, text, "numbers, separated by commas, one a channel") from None
