"""Following an experiment: a bar for all its jobs, one for each job that runs, and a line for each that fails."""

from collections import Counter

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from robxfer_core.client import Client
from robxfer_core.spec.wire.experiments import ExperimentView, NodeView
from robxfer_core.spec.wire.jobs import EventView

ENDED = frozenset({"done", "failed", "cancelled"})


def follow(client: Client, experiment_id: str, console: Console) -> ExperimentView:
    """Show an experiment's events until it has ended; returns it as it then is."""
    view = client.get(experiment_id)
    board = _Board(view, console)
    with board.progress:
        for event in client.events(experiment_id):
            board.take(event)
    return client.get(experiment_id)


class _Board:
    """The bars. On a terminal they move in place; elsewhere, a line is printed for each job that ends."""

    def __init__(self, view: ExperimentView, console: Console) -> None:
        self.console = console
        self.names: dict[str, NodeView] = {}
        for node in view.nodes:
            self.names.setdefault(node.job_id, node)
        self.states = {job: str(node.state) for job, node in self.names.items()}
        self.bars: dict[str, TaskID] = {}
        self.progress = Progress(
            TextColumn("{task.description}", table_column=None),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", style="dim"),
            TimeElapsedColumn(),
            console=console,
            transient=False,
        )
        ended = sum(state in ENDED for state in self.states.values())
        self.all = self.progress.add_task(
            f"[bold]{view.name}[/bold]", total=len(self.names), completed=ended, unit="jobs"
        )

    def take(self, event: EventView) -> None:
        job = event.job_id
        if job is None or job not in self.names:
            return
        if event.type == "state" and "state" in event.data:
            self._state(job, str(event.data["state"]), event)
        elif event.type == "progress" and self.states[job] == "running":
            bar = self._bar(job)
            done, total = float(event.data.get("done", 0)), float(event.data.get("total", 0))
            self.progress.update(
                bar, completed=int(done), total=int(total) or None, unit=str(event.data.get("unit", ""))
            )
        elif event.type == "log":
            self._say(self.names[job].name, "dim", str(event.data.get("line", "")))

    def _state(self, job: str, state: str, event: EventView) -> None:
        before, self.states[job] = self.states[job], state
        name = self.names[job].name
        if state == "running":
            self._bar(job)
            return
        if job in self.bars:
            self.progress.remove_task(self.bars.pop(job))
        error = event.data.get("error")
        if error:
            told = error.get("message", "") if isinstance(error, dict) else error
            self._say(f"{name}: {event.data.get('outcome', state)}", "red", str(told))
        if state in ENDED and before != state and not self.console.is_terminal:
            self.console.print(f"{name}: {state}", highlight=False)
        counts = Counter(self.states.values())
        self.progress.update(self.all, completed=sum(counts[state] for state in ENDED))

    def _bar(self, job: str) -> TaskID:
        if job not in self.bars:
            node = self.names[job]
            self.bars[job] = self.progress.add_task(f"  {escape(node.name)}", total=None, unit=node.kind)
        return self.bars[job]

    def _say(self, who: str, style: str, line: str) -> None:
        self.console.print(Text.assemble((f"{who}:", style), " ", line), highlight=False)
