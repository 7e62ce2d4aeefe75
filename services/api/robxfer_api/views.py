"""What the ledger remembers, as the answers of the interface."""

from sqlalchemy import Engine

from robxfer_core.ledger import artifacts, events, experiments, jobs
from robxfer_core.ledger.artifacts import Artifact
from robxfer_core.ledger.events import Event
from robxfer_core.spec.wire.artifacts import ArtifactView, FileView
from robxfer_core.spec.wire.base import Page
from robxfer_core.spec.wire.experiments import ExperimentRow, ExperimentView, NodeView
from robxfer_core.spec.wire.jobs import AttemptView, EventView, InputView, JobView, WaitingFor

from .plan_view import group_of


def experiment_view(engine: Engine, project: str, id: str) -> ExperimentView:
    """Raises Unknown."""
    last = events.last(engine)  # read first: what is written meanwhile may come twice, but is not missed
    found = experiments.get(engine, project, id)
    row = experiment_row(found)
    nodes = [_node(each) for each in experiments.jobs_of(engine, id)]
    return ExperimentView(**dict(row), spec=found.spec, nodes=nodes, last_event_id=last)


def experiment_row(found: experiments.Summary) -> ExperimentRow:
    named = {name: getattr(found, name) for name in ExperimentRow.model_fields if name != "project"}
    return ExperimentRow(project=found.project_id, **named)


def _node(member: experiments.Member) -> NodeView:
    return NodeView.model_validate(vars(member) | {"group": group_of(member.name)})


def job_view(job: jobs.Job) -> JobView:
    named = {name: getattr(job, name) for name in JobView.model_fields}
    return JobView.model_validate(
        named
        | {
            "inputs": [InputView.model_validate(each, from_attributes=True) for each in job.inputs],
            "attempts": [AttemptView.model_validate(each, from_attributes=True) for each in job.attempts],
            "waiting_for": [WaitingFor.model_validate(each, from_attributes=True) for each in job.waiting_for],
        }
    )


def artifact_view(artifact: Artifact) -> ArtifactView:
    named = {name: getattr(artifact, name) for name in ArtifactView.model_fields if name != "files"}
    return ArtifactView(files=[FileView(**file) for file in artifact.manifest["files"]], **named)


def artifact_page(engine: Engine, project: str, type: str, limit: int, cursor: str | None) -> Page[ArtifactView]:
    found = artifacts.page(engine, project, type, limit, cursor)
    return Page(items=[artifact_view(each) for each in found.items], next=found.next)


def event_view(event: Event) -> EventView:
    return EventView.model_validate(event, from_attributes=True)
