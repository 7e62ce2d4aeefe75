"""Experiments: asked for, planned, shown, followed, ended."""

import hashlib
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from robxfer_api.audit import address_of
from robxfer_api.auth import Reader, Submitter, key_of
from robxfer_api.context import SPEC_OPENAPI, Context, Ctx, Cursor, Id, LastId, Limit, Spec, Text
from robxfer_api.datasets import readable_datasets
from robxfer_api.errors import NOT_YET, Refused, wrong_query
from robxfer_api.events import stream
from robxfer_api.plan_view import plan_view
from robxfer_api.views import experiment_row, experiment_view
from robxfer_core.jobs.registry import leaves_report
from robxfer_core.ledger import artifacts, experiments, jobs, uploads, workers
from robxfer_core.planning.cost import Cost, Measured, estimate
from robxfer_core.planning.plan import Plan, make_plan
from robxfer_core.spec.states import ExperimentState, JobState
from robxfer_core.spec.wire.base import Page
from robxfer_core.spec.wire.experiments import ExperimentRow, ExperimentView, Submitted
from robxfer_core.spec.wire.plan import PlanView

from .artifacts import DAMAGE, read_whole

router = APIRouter(prefix="/v1/experiments", tags=["experiments"])

After = Annotated[int, Query(ge=0, le=2**53, description="Id of an event, such as an experiment's `last_event_id`")]
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]


@router.post("", status_code=202, openapi_extra=SPEC_OPENAPI)
def submit(
    ctx: Ctx, caller: Submitter, spec: Spec, response: Response, idempotency_key: IdempotencyKey = None
) -> Submitted:
    """Asks for a spec to be run; it is validated and planned whole before anything is stored."""
    once = (idempotency_key, hashlib.sha256(spec.data).hexdigest()) if idempotency_key else None
    earlier = once and experiments.submitted(ctx.engine, caller.project, once)
    if earlier:  # whatever has become of what it takes: it was taken
        submission = experiments.Submission(earlier, created=False, queues_ready=[])
    else:
        experiment = spec.read()
        plan = make_plan(experiment, readable_datasets(ctx))
        asked = experiment.model_dump(mode="json", exclude_unset=True)
        submission = experiments.submit(ctx.engine, caller.project, asked, plan, once, caller.name)
    ctx.ring(submission.queues_ready)
    response.headers["Location"] = f"/v1/experiments/{submission.experiment_id}"
    view = experiment_view(ctx.engine, caller.project, submission.experiment_id)
    return Submitted(**dict(view), created=submission.created)


@router.post("/plan", openapi_extra=SPEC_OPENAPI)
def plan(ctx: Ctx, caller: Reader, spec: Spec) -> PlanView:
    """What submitting the spec would compute, without storing or running anything."""
    experiment = spec.read()
    planned = make_plan(experiment, readable_datasets(ctx))
    uploads.check(ctx.engine, caller.project, planned)
    states = jobs.states_of_keys(ctx.engine, caller.project, [node.key for node in planned.nodes])
    return plan_view(experiment.name, planned, states, _cost(ctx, planned, states))


@router.get("")
def page(
    ctx: Ctx,
    caller: Reader,
    state: ExperimentState | None = None,
    name: Text = None,
    label: Annotated[Text, Query(description="`key` or `key=value`")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[ExperimentRow]:
    """Experiments, newest first."""
    found = experiments.page(
        ctx.engine, caller.project, state=state, name=name, label=label, limit=limit, cursor=cursor
    )
    return Page(items=[experiment_row(each) for each in found.items], next=found.next)


@router.get("/{id}")
def get(ctx: Ctx, caller: Reader, id: Id) -> ExperimentView:
    return experiment_view(ctx.engine, caller.project, id)


@router.post("/{id}/cancel")
def cancel(ctx: Ctx, caller: Submitter, id: Id) -> ExperimentView:
    """Ends the experiment; jobs that no other wants are stopped. Of one that has ended, nothing changes."""
    experiments.cancel(ctx.engine, caller.project, id)
    return experiment_view(ctx.engine, caller.project, id)


@router.post("/{id}/retry")
def retry(ctx: Ctx, caller: Submitter, id: Id) -> ExperimentView:
    """Gives its failed and cancelled jobs a fresh budget. Of one that is done, nothing changes."""
    ctx.ring(experiments.retry(ctx.engine, caller.project, id).queues_ready)
    return experiment_view(ctx.engine, caller.project, id)


def _known(ctx: Ctx, caller: Reader, id: Id) -> str:
    # A stream's answer has begun before its body runs: what is not there must be found out earlier.
    experiments.state(ctx.engine, caller.project, id)
    return id


async def _one_more(ctx: Ctx, caller: Reader, request: Request) -> AsyncIterator[None]:
    with ctx.streams.one(key_of(caller, address_of(request))):
        yield  # until the stream has ended


@router.get("/{id}/events", response_class=EventSourceResponse, dependencies=[Depends(_one_more)])
async def events(
    ctx: Ctx, caller: Reader, known: Annotated[str, Depends(_known)], last_event_id: LastId = 0, after: After = 0
) -> AsyncIterator[ServerSentEvent]:
    """The events of an experiment, and the new ones as they come; `end` once it has ended.

    It starts behind the header Last-Event-ID or the query parameter `after`, whichever is larger: a browser sends the
    header only when it reconnects. A stream may end earlier, without an `end`: the client then goes on from the last
    id it has seen.
    """
    async for line in stream(ctx.fan, ctx.engine, caller, known, max(last_event_id, after)):
        yield line


@router.get("/{id}/report", response_class=Response, responses={200: {"content": {"application/json": {}}}, **DAMAGE})
def report(ctx: Ctx, caller: Reader, id: Id, node: Text = None) -> Response:
    """report.json of its report job; of several, of the one that `node` names."""
    experiments.state(ctx.engine, caller.project, id)
    found = {each.name: each for each in experiments.jobs_of(ctx.engine, id) if leaves_report(each.kind)}
    if not found:
        raise Refused(404, "This experiment has no report job.")
    if node is None and len(found) > 1:
        raise wrong_query("node", None, f"one of its report jobs: {', '.join(found)}")
    if node is not None and node not in found:
        raise wrong_query("node", node, f"one of its report jobs: {', '.join(found)}")
    member = found[node or next(iter(found))]
    if member.artifact_id is None or member.state != "done":
        raise Refused(404, _why_not(ctx, caller.project, member), type=NOT_YET, title="The report is not there yet")
    artifact = artifacts.get(ctx.engine, caller.project, member.artifact_id)
    data = read_whole(ctx, artifact, "report.json")
    return Response(data, media_type="application/json")


def _why_not(ctx: Context, project: str, member: experiments.Member) -> str:
    reasons = jobs.job(ctx.engine, project, member.job_id).waiting_for
    told = f": {'; '.join(reason.detail for reason in reasons)}" if reasons else ""
    return f"The job {member.name} is {member.state}{told}."


def _cost(ctx: Context, plan: Plan, states: dict[str, JobState]) -> Cost:
    queues = {node.running.full_queue for node in plan.nodes}
    slots = sum(worker.slots for worker in workers.live(ctx.engine) if queues & set(worker.queues))
    measured = {
        (kind, queue): Measured(each.flops, each.seconds, each.n)
        for (kind, queue, outcome), each in ctx.tally.read(ctx.engine).items()
        if outcome == "succeeded"
    }
    done = {key for key, state in states.items() if state == JobState.DONE}
    return estimate(plan, done, measured, slots or ctx.settings.slots)
