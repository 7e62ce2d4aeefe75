"""Views: what the ledger stores, as the models that the interface answers with."""

from sqlalchemy import Engine

from robxfer_core.ledger import artifacts, events, experiments, jobs
from robxfer_core.ledger.artifacts import ArtifactRecord
from robxfer_core.ledger.events import Event
from robxfer_core.spec.wire.artifacts import ArtifactView, FileView
from robxfer_core.spec.wire.base import Page
from robxfer_core.spec.wire.experiments import ExperimentRow, ExperimentView, NodeView
from robxfer_core.spec.wire.jobs import AttemptView, EventView, InputView, JobView, WaitingFor
from robxfer_core.spec.wire.queries import PageQuery

from .plan_view import group_of


def experiment_view(engine: Engine, project: str, id: str) -> ExperimentView:
    """Reads an experiment with its nodes.

    Raises:
        NotFound: The project has no such experiment.
    """
    last_event_id = events.last(engine)  # read first: an event written meanwhile may be seen twice, but is not missed
    experiment = experiments.get(engine, project, id)
    nodes = [_node(member) for member in experiments.list_nodes(engine, id)]
    row = dict(experiment_row(experiment))
    return ExperimentView(**row, spec=experiment.spec, nodes=nodes, last_event_id=last_event_id)


def experiment_row(experiment: experiments.ExperimentSummary) -> ExperimentRow:
    """An experiment as it stands in a list."""
    fields = {name: getattr(experiment, name) for name in ExperimentRow.model_fields if name != "project"}
    return ExperimentRow(project=experiment.project_id, **fields)


def _node(member: experiments.NodeRecord) -> NodeView:
    return NodeView.model_validate(vars(member) | {"group": group_of(member.name)})


def job_view(job: jobs.JobRecord) -> JobView:
    """A job with its inputs, its attempts and what it waits for."""
    fields = {name: getattr(job, name) for name in JobView.model_fields}
    return JobView.model_validate(
        fields
        | {
            "inputs": [InputView.model_validate(item, from_attributes=True) for item in job.inputs],
            "attempts": [AttemptView.model_validate(attempt, from_attributes=True) for attempt in job.attempts],
            "waiting_for": [WaitingFor.model_validate(reason, from_attributes=True) for reason in job.waiting_for],
        }
    )


def artifact_view(artifact: ArtifactRecord) -> ArtifactView:
    """An artifact with the files of its manifest."""
    fields = {name: getattr(artifact, name) for name in ArtifactView.model_fields if name != "files"}
    return ArtifactView(files=[FileView(**file) for file in artifact.manifest["files"]], **fields)


def artifact_page(engine: Engine, project: str, type: str, query: PageQuery) -> Page[ArtifactView]:
    """Reads one page of a project's artifacts of a type, newest first."""
    page = artifacts.page(engine, project, type, query.limit, query.cursor)
    return Page(items=[artifact_view(artifact) for artifact in page.items], next=page.next)


def event_view(event: Event) -> EventView:
    """An event of an experiment or a job."""
    return EventView.model_validate(event, from_attributes=True)
