"""Follows an experiment: a bar for all its jobs, one for each job that runs, and a line for each job that fails."""

from collections import Counter

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from robxfer_core.client import Client
from robxfer_core.spec.states import ENDED_JOB_STATES, JobState
from robxfer_core.spec.wire.experiments import ExperimentView, NodeView
from robxfer_core.spec.wire.jobs import EventView


def follow(client: Client, experiment_id: str, console: Console) -> ExperimentView:
    """Shows an experiment's events until it has ended.

    Returns:
        The experiment as it ended.
    """
    display = ProgressDisplay(client.get(experiment_id), console)
    with display.progress:
        for event in client.events(experiment_id):
            display.update(event)
    return client.get(experiment_id)


class ProgressDisplay:
    """The bars. On a terminal they move in place; elsewhere a line is printed for each job that ends."""

    def __init__(self, view: ExperimentView, console: Console) -> None:
        self._console = console
        self._nodes: dict[str, NodeView] = {}  # the first node of each job, by job id
        for node in view.nodes:
            self._nodes.setdefault(node.job_id, node)
        self._states = {job_id: node.state for job_id, node in self._nodes.items()}
        self._bars: dict[str, TaskID] = {}
        self.progress = Progress(
            TextColumn("{task.description}", table_column=None),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", style="dim"),
            TimeElapsedColumn(),
            console=console,
            transient=False,
        )
        ended = sum(state in ENDED_JOB_STATES for state in self._states.values())
        self._total = self.progress.add_task(
            f"[bold]{escape(view.name)}[/bold]", total=len(self._nodes), completed=ended, unit="jobs"
        )

    def update(self, event: EventView) -> None:
        """Shows an event; those of other jobs are ignored."""
        job_id = event.job_id
        if job_id is None or job_id not in self._nodes:
            return
        if event.type == "state" and "state" in event.data:
            self._update_state(job_id, JobState(event.data["state"]), event)
        elif event.type == "progress" and self._states[job_id] == JobState.RUNNING:
            done, total = float(event.data.get("done", 0)), float(event.data.get("total", 0))
            unit = str(event.data.get("unit", ""))
            self.progress.update(self._bar(job_id), completed=int(done), total=int(total) or None, unit=unit)
        elif event.type == "log":
            self._print(self._nodes[job_id].name, "dim", str(event.data.get("line", "")))

    def _update_state(self, job_id: str, state: JobState, event: EventView) -> None:
        before, self._states[job_id] = self._states[job_id], state
        name = self._nodes[job_id].name
        if state == JobState.RUNNING:
            self._bar(job_id)
            return
        if job_id in self._bars:
            self.progress.remove_task(self._bars.pop(job_id))
        error = event.data.get("error")
        if error:
            message = error.get("message", "") if isinstance(error, dict) else error
            self._print(f"{name}: {event.data.get('outcome', state)}", "red", str(message))
        if state in ENDED_JOB_STATES and before != state and not self._console.is_terminal:
            self._console.print(f"{name}: {state}", highlight=False)
        counts = Counter(self._states.values())
        self.progress.update(self._total, completed=sum(counts[state] for state in ENDED_JOB_STATES))

    def _bar(self, job_id: str) -> TaskID:
        if job_id not in self._bars:
            node = self._nodes[job_id]
            self._bars[job_id] = self.progress.add_task(f"  {escape(node.name)}", total=None, unit=node.kind)
        return self._bars[job_id]

    def _print(self, name: str, style: str, line: str) -> None:
        self._console.print(Text.assemble((f"{name}:", style), " ", line), highlight=False)
