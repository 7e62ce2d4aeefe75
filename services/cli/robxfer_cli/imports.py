"""`robxfer import-dataset` and `import-model`: hand in files of one's own, and follow their import."""

import json as jsons
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from robxfer_core.client import Client, UploadError
from robxfer_core.spec.wire.experiments import Uploaded

from .connection import Target, service
from .options import FAILED, HERE, WRONG, DataDir, Json, Server, Token, console, errors
from .progress import follow

app = typer.Typer()
Channels = Annotated[str | None, typer.Option(metavar="R,G,B", help="a channel, in [0,1] pixels")]

Send = Callable[[Client, Callable[[int, int], None]], Uploaded]


@app.command("import-dataset")
def import_dataset(
    path: Path,
    name: Annotated[str | None, typer.Option(help="what the set is called; the file's name without this")] = None,
    size: Annotated[int | None, typer.Option(help="side in pixels; needed where images differ in size")] = None,
    queue: Annotated[str, typer.Option(help="of the import job")] = "cpu",
    server: Server = None, token: Token = None, data_dir: DataDir = HERE, json: Json = False,
) -> None:  # fmt: skip
    """Upload images, an .npz, .zip, .tar or .tar.gz or a folder of train/CLASS/IMAGE, and have them imported."""
    called = name or re.sub(r"[^a-zA-Z0-9._-]+", "-", path.absolute().name.split(".")[0]).strip("-._")[:64] or "images"

    def send(client: Client, tell: Callable[[int, int], None]) -> Uploaded:
        return client.import_dataset(path, called, tell, size=size, queue=queue)

    _import(send, path, Target(server, token, data_dir.absolute()), json)


@app.command("import-model")
def import_model(
    path: Path,
    arch: Annotated[str, typer.Option(help="name of the architecture: resnet18, resnet50, cnn, ...")],
    width: Annotated[float, typer.Option(help="multiplies the channels of every layer")] = 1.0,
    input_size: Annotated[int | None, typer.Option(help="side of the images that it was trained on")] = None,
    mean: Channels = None,
    std: Channels = None,
    moments: Annotated[str | None, typer.Option(help="take mean and std of this set: imagenet, cifar10, ...")] = None,
    dataset: Annotated[str | None, typer.Option(help="measure the accuracy on this set's test split")] = None,
    norm: Annotated[str, typer.Option(help="of the threat model that it was trained against")] = "l2",
    eps: Annotated[float, typer.Option(help="of that threat model; 0 is standard training")] = 0.0,
    seed: Annotated[int, typer.Option(help="tells several trainings of one kind apart")] = 0,
    queue: Annotated[str, typer.Option(help="of the import job")] = "cpu",
    server: Server = None, token: Token = None, data_dir: DataDir = HERE, json: Json = False,
) -> None:  # fmt: skip
    """Upload weights, .safetensors or a PyTorch state dict, and have them imported and, with --dataset, measured."""
    options = {"width": width, "input_size": input_size, "norm": norm, "eps": eps, "seed": seed, "dataset": dataset}
    normal = {"mean": mean.split(",") if mean else None, "std": std.split(",") if std else None, "moments": moments}

    def send(client: Client, tell: Callable[[int, int], None]) -> Uploaded:
        return client.import_model(path, arch, tell, **options, **normal, queue=queue)

    _import(send, path, Target(server, token, data_dir.absolute()), json)


def _import(send: Send, path: Path, target: Target, json: bool) -> None:
    """Upload, follow the import to its end, and say by what specs can name the result."""
    told = errors if json else console
    if not path.exists():
        errors.print(f"{path}: there is no such file or folder", style="red", highlight=False)
        sys.exit(WRONG)
    try:
        with service(target, "worker") as client:
            with _bar(path, told) as bar:
                task = bar.add_task(f"upload {path.name}", total=None)
                uploaded = send(client, lambda done, total: bar.update(task, completed=done, total=total))
            ended = follow(client, uploaded.id, told)
            node = next(node for node in ended.nodes if node.name == "import")
            job = client.job(node.job_id)
            result = client.result(node.artifact_id) if ended.state == "done" and node.artifact_id else {}
    except (UploadError, PermissionError) as error:
        errors.print(str(error), style="red", highlight=False)
        sys.exit(WRONG)
    # `dataset` is a job of this experiment, which other specs do not have.
    given = {key: value for key, value in job.params.items() if value is not None and key != "dataset"}
    named: dict[str, Any] = {"kind": job.kind, **given}
    measured = result.get("model", {}).get("accuracy") or {}
    if json:
        answer = {"experiment": ended.id, "state": ended.state, "artifact": node.artifact_id, "job": named}
        sys.stdout.write(jsons.dumps(answer | _told(result, measured) | {"error": job.error}, indent=2) + "\n")
    elif ended.state == "done":
        for line in result.get("names", []):
            console.print(line, highlight=False, soft_wrap=True)
        for name in ("clean", "robust"):
            if measured.get(name) is not None:
                console.print(f"{name} accuracy {measured[name]:.4f} ({measured['dataset']})", highlight=False)
        console.print(f"artifact {node.artifact_id}; in a spec: {jsons.dumps(named)}", highlight=False, soft_wrap=True)
    if ended.state != "done":
        sys.exit(FAILED)


def _told(result: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """Of a model: its name, what became of the file's tensors, and its accuracy where that was measured."""
    if "model" not in result:
        return {}
    accuracy = {f"{name}_accuracy": measured.get(name) for name in ("clean", "robust")}
    return {"name": result["model"]["name"], "names": result["names"], **accuracy, "images": measured.get("n")}


def _bar(path: Path, told: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=28), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=told)
