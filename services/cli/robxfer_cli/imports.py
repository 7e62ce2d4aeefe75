"""Commands that upload files of one's own and follow their import: import-dataset, import-model."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from robxfer_core.client import Client, UploadError
from robxfer_core.spec.states import ExperimentState
from robxfer_core.spec.wire.experiments import Uploaded
from robxfer_core.spec.wire.queries import DatasetOptions, ImportModelQuery

from .connection import connect
from .options import ServiceOptions, model_options
from .output import FAILED, WRONG, console, errors, fail, print_json
from .progress import follow

app = typer.Typer()
Upload = Callable[[Client, Callable[[int, int], None]], Uploaded]
"""Sends the file with a client; the second argument is called with the bytes sent so far and in all."""


@app.command("import-dataset")
@model_options
def import_dataset(
    path: Path,
    dataset: DatasetOptions,
    options: ServiceOptions,
    name: Annotated[str | None, typer.Option(help="What the data set is called; without it, the file's name.")] = None,
) -> None:
    """Upload images, an .npz, .zip, .tar or .tar.gz or a folder of train/CLASS/IMAGE, and have them imported."""
    set_name = name or re.sub(r"[^a-zA-Z0-9._-]+", "-", path.absolute().name.split(".")[0]).strip("-._")[:64]

    def upload(client: Client, on_progress: Callable[[int, int], None]) -> Uploaded:
        return client.import_dataset(path, set_name or "images", on_progress, **dict(dataset))

    _import(path, upload, options)


@app.command("import-model")
@model_options
def import_model(path: Path, model: ImportModelQuery, options: ServiceOptions) -> None:
    """Upload weights, .safetensors or a PyTorch state dict, and have them imported and, with --dataset, measured."""

    def upload(client: Client, on_progress: Callable[[int, int], None]) -> Uploaded:
        return client.import_model(path, on_progress=on_progress, **dict(model))

    _import(path, upload, options)


def _import(path: Path, upload: Upload, options: ServiceOptions) -> None:
    """Uploads, follows the import to its end, and prints how specs can name the result."""
    progress_console = errors if options.as_json else console
    if not path.exists():
        fail(f"{path}: there is no such file or folder", WRONG)
    try:
        with connect(options, "worker") as client:
            with _upload_bar(progress_console) as bar:
                task = bar.add_task(f"upload {path.name}", total=None)
                uploaded = upload(client, lambda done, total: bar.update(task, completed=done, total=total))
            ended = follow(client, uploaded.id, progress_console)
            node = next(node for node in ended.nodes if node.name == "import")
            job = client.job(node.job_id)
            result = client.result(node.artifact_id) if ended.state == ExperimentState.DONE and node.artifact_id else {}
    except (UploadError, PermissionError) as error:
        fail(str(error), WRONG)
    # `dataset` names a job of this experiment, which other specs do not have.
    params = {key: value for key, value in job.params.items() if value is not None and key != "dataset"}
    spec_job: dict[str, Any] = {"kind": job.kind, **params}
    accuracy = result.get("model", {}).get("accuracy") or {}
    if options.as_json:
        summary = {"experiment": ended.id, "state": ended.state, "artifact": node.artifact_id, "job": spec_job}
        print_json(summary | _model_summary(result, accuracy) | {"error": job.error})
    elif ended.state == ExperimentState.DONE:
        for line in result.get("names", []):
            console.print(line, soft_wrap=True)
        for name in ("clean", "robust"):
            if accuracy.get(name) is not None:
                console.print(f"{name} accuracy {accuracy[name]:.4f} ({accuracy['dataset']})")
        console.print(f"artifact {node.artifact_id}; in a spec: {json.dumps(spec_job)}", soft_wrap=True)
    if ended.state != ExperimentState.DONE:
        raise typer.Exit(FAILED)


def _model_summary(result: dict[str, Any], accuracy: dict[str, Any]) -> dict[str, Any]:
    """Of an imported model: its name, what was done with the file's tensors, and its accuracy where measured."""
    if "model" not in result:
        return {}
    measured = {f"{name}_accuracy": accuracy.get(name) for name in ("clean", "robust")}
    return {"name": result["model"]["name"], "names": result["names"], **measured, "images": accuracy.get("n")}


def _upload_bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=28), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=console)
