"""Experiments: submit, plan, list, show, follow, cancel, retry, and their reports."""

import hashlib
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from robxfer_api.audit import client_address
from robxfer_api.auth import Reader, Submitter, rate_limit_key
from robxfer_api.context import ApiContext, Ctx
from robxfer_api.datasets import readable_datasets
from robxfer_api.errors import NOT_READY, HTTPProblem, invalid_parameter
from robxfer_api.events import event_stream
from robxfer_api.plan_view import plan_view
from robxfer_api.spec_body import SPEC_OPENAPI, Spec
from robxfer_api.views import experiment_row, experiment_view
from robxfer_core.jobs.registry import leaves_report
from robxfer_core.ledger import artifacts, experiments, jobs, uploads, workers
from robxfer_core.planning.cost import Cost, Throughput, estimate
from robxfer_core.planning.plan import Plan, make_plan
from robxfer_core.spec.states import AttemptOutcome, JobState
from robxfer_core.spec.wire.base import Page
from robxfer_core.spec.wire.experiments import ExperimentRow, ExperimentView, Submitted
from robxfer_core.spec.wire.plan import PlanView
from robxfer_core.spec.wire.queries import EventQuery, ExperimentQuery, ReportQuery

from .artifacts import DAMAGED_RESPONSE, read_file
from .parameters import Id, IdempotencyKey, LastEventId

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])


@router.post("", status_code=202, openapi_extra=SPEC_OPENAPI)
def submit(
    ctx: Ctx, caller: Submitter, spec: Spec, response: Response, idempotency_key: IdempotencyKey = None
) -> Submitted:
    """Submits a spec to be run. It is validated and planned whole before anything is stored."""
    body_sha256 = hashlib.sha256(spec.data).hexdigest()
    once = experiments.IdempotencyKey(idempotency_key, body_sha256) if idempotency_key else None
    earlier = once and experiments.find_submission(ctx.engine, caller.project, once)
    if earlier:  # not planned again: what it names may be gone by now
        submission = experiments.Submission(earlier, created=False, queues_ready=[])
    else:
        experiment = spec.parse()
        plan = make_plan(experiment, readable_datasets(ctx))
        as_written = experiment.model_dump(mode="json", exclude_unset=True)
        submission = experiments.submit(ctx.engine, caller.project, as_written, plan, once, caller.name)
    ctx.notify_workers(submission.queues_ready)
    response.headers["Location"] = f"/v1/experiments/{submission.experiment_id}"
    view = experiment_view(ctx.engine, caller.project, submission.experiment_id)
    return Submitted(**dict(view), created=submission.created)


@router.post("/plan", openapi_extra=SPEC_OPENAPI)
def plan_experiment(ctx: Ctx, caller: Reader, spec: Spec) -> PlanView:
    """Returns what submitting a spec would compute, without storing or running anything."""
    experiment = spec.parse()
    plan = make_plan(experiment, readable_datasets(ctx))
    uploads.check(ctx.engine, caller.project, plan)
    states = jobs.states_of_keys(ctx.engine, caller.project, [node.key for node in plan.nodes])
    return plan_view(experiment.name, plan, states, _cost(ctx, plan, states))


@router.get("")
def list_experiments(ctx: Ctx, caller: Reader, query: Annotated[ExperimentQuery, Query()]) -> Page[ExperimentRow]:
    """Lists experiments, newest first."""
    page = experiments.page(ctx.engine, caller.project, query)
    return Page(items=[experiment_row(experiment) for experiment in page.items], next=page.next)


@router.get("/{id}")
def get_experiment(ctx: Ctx, caller: Reader, id: Id) -> ExperimentView:
    """Returns an experiment with its nodes."""
    return experiment_view(ctx.engine, caller.project, id)


@router.post("/{id}/cancel")
def cancel(ctx: Ctx, caller: Submitter, id: Id) -> ExperimentView:
    """Ends an experiment and stops jobs that no other needs. An experiment that has ended stays as it is."""
    experiments.cancel(ctx.engine, caller.project, id)
    return experiment_view(ctx.engine, caller.project, id)


@router.post("/{id}/retry")
def retry(ctx: Ctx, caller: Submitter, id: Id) -> ExperimentView:
    """Runs failed and cancelled jobs again, with a fresh budget. An experiment that is done stays as it is."""
    ctx.notify_workers(experiments.retry(ctx.engine, caller.project, id).queues_ready)
    return experiment_view(ctx.engine, caller.project, id)


def _existing(ctx: Ctx, caller: Reader, id: Id) -> str:
    # A stream's response begins before the route's body runs: a 404 has to be found in a dependency.
    experiments.get_state(ctx.engine, caller.project, id)
    return id


async def _hold_stream(ctx: Ctx, caller: Reader, request: Request) -> AsyncIterator[None]:
    with ctx.streams.hold(rate_limit_key(caller, client_address(request))):
        yield  # until the stream has ended


@router.get("/{id}/events", response_class=EventSourceResponse, dependencies=[Depends(_hold_stream)])
async def follow(
    ctx: Ctx,
    caller: Reader,
    id: Annotated[str, Depends(_existing)],
    query: Annotated[EventQuery, Query()],
    last_event_id: LastEventId = 0,
) -> AsyncIterator[ServerSentEvent]:
    """Streams an experiment's past events, then new ones, and `end` once the experiment has ended.

    The stream starts after the header Last-Event-ID or the query parameter `after`, whichever is larger: a browser
    sends the header only when it reconnects. A stream may break off without an `end`; the client resumes with the
    last id that it has seen.
    """
    last_id = max(last_event_id, query.after)
    async for message in event_stream(ctx.broadcaster, ctx.engine, caller, id, last_id):
        yield message


@router.get(
    "/{id}/report",
    response_class=Response,
    responses={200: {"content": {"application/json": {}}}, **DAMAGED_RESPONSE},
)
def get_report(ctx: Ctx, caller: Reader, id: Id, query: Annotated[ReportQuery, Query()]) -> Response:
    """Returns report.json of the report job; of several report jobs, of the one that `node` names."""
    experiments.get_state(ctx.engine, caller.project, id)
    reports = {member.name: member for member in experiments.list_nodes(ctx.engine, id) if leaves_report(member.kind)}
    if not reports:
        raise HTTPProblem(404, "This experiment has no report job.")
    member = next(iter(reports.values())) if query.node is None and len(reports) == 1 else reports.get(query.node or "")
    if member is None:
        raise invalid_parameter("query", "node", query.node, f"one of its report jobs: {', '.join(reports)}")
    if member.artifact_id is None or member.state != JobState.DONE:
        detail = _why_not_done(ctx, caller.project, member)
        raise HTTPProblem(404, detail, type=NOT_READY, title="The report is not there yet")
    artifact = artifacts.get(ctx.engine, caller.project, member.artifact_id)
    return Response(read_file(ctx, artifact, "report.json"), media_type="application/json")


def _why_not_done(ctx: ApiContext, project: str, member: experiments.NodeRecord) -> str:
    reasons = jobs.get(ctx.engine, project, member.job_id).waiting_for
    because = f": {'; '.join(reason.detail for reason in reasons)}" if reasons else ""
    return f"The job {member.name} is {member.state}{because}."


def _cost(ctx: ApiContext, plan: Plan, states: dict[str, JobState]) -> Cost:
    """Estimates what the jobs of a plan that are not done will take, from attempts that have succeeded."""
    queues = {node.running.full_queue for node in plan.nodes}
    slots = sum(worker.slots for worker in workers.list_live(ctx.engine) if queues & set(worker.queues))
    measured = {
        (kind, queue): Throughput(total.flops, total.seconds, total.count)
        for (kind, queue, outcome), total in ctx.tally.read(ctx.engine).items()
        if outcome == AttemptOutcome.SUCCEEDED
    }
    done = {key for key, state in states.items() if state == JobState.DONE}
    return estimate(plan, done, measured, slots or ctx.settings.slots)
