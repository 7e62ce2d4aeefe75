"""Every job of results.yaml computed by the library, in turn: `python -m tests.golden.chain FILE [RECORD]`."""

import hashlib
import html
import json
import platform
import re
import shutil
import sys
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from PIL import Image

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.run import Input, Inputs, LocalRun

from .keys import KINDS, Node, plan_nodes

SPEC = Path(__file__).with_name("results.yaml")
TRAINED = "source[eps=0.5,seed=0]"
"""The node whose weights are uploaded, and served to the job that fetches."""
HOST = "http://127.0.0.1/"
"""What stands in the record for the server's address, whose port differs from run to run."""


class Computed(TypedDict):
    """What a node's job left."""

    kind: str
    recipe: int
    key: str
    result: dict[str, Any]
    """result.json."""
    files: dict[str, str]
    """sha256 of what `content` takes of each other file, and of `metrics`."""


Results = dict[str, Computed]
"""By node, in the order of the plan."""
Environment = dict[str, str | int]
LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "matplotlib", "pillow", "pyarrow")


def environment() -> Environment:
    """What the bytes of results depend on beside the code: processor, threads, versions."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    vendor = re.search(r"vendor_id\s*:\s*(\S+)", cpuinfo)
    return {
        "machine": f"{platform.machine()} {vendor[1] if vendor else platform.processor()}",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        **{name: version(name) for name in LIBRARIES},
    }


def compute_all(folder: Path, recorded: Results) -> Results:
    """Compute every job, inputs first.

    Args:
        folder: Empty; what a job leaves is in `folder/NODE/out`.
        recorded: A report that reads nothing of its inputs but their results is given the recorded ones, where their
            keys are those of now, so that it is compared by itself.
    """
    sources, served = write_sources(folder / "sources"), folder / "served"
    served.mkdir()
    results: Results = {}
    with serving(served) as base:
        for node in plan_nodes(SPEC):
            params, inputs = dict(node.params), _inputs(node, folder, recorded)
            trained = folder / TRAINED / "out" / "model.safetensors"
            if node.kind == "fetch":
                params["urls"] = [base for _ in params["urls"]]
                shutil.copy(trained, served / "model_eps0.5.safetensors")
            if params.get("upload"):
                given = folder / node.name / "given"
                given.mkdir(parents=True)
                shutil.copy(trained if node.kind == "import_model" else sources / f"{node.name}.zip", given / "upload")
                inputs["upload"] = [Input(given, params["upload"])]
            run = LocalRun(folder / node.name, key=node.key, data_root=sources, fetch_hosts=("127.0.0.1",))
            compute(node.kind, params, Inputs(inputs), run)
            results[node.name] = {
                "kind": node.kind,
                "recipe": node.recipe,
                "key": node.key,
                "result": json.loads((run.out / "result.json").read_text().replace(base, HOST)),
                "files": _files(run, base),
            }
    return results


def write_sources(folder: Path) -> Path:
    """What a user would bring: a folder of images, two uploads, and a file. Returns the folder."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 10)):
        for name, shade in (("dark", 60), ("light", 160)):
            (folder / "shades" / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(shade - 40, shade + 40, (14, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "shades" / split / name / f"{index:02}.png")
    with zipfile.ZipFile(folder / "imported_images.zip", "w") as archive:
        for path in sorted((folder / "shades" / "train").rglob("*.png")):
            archive.write(path, path.relative_to(folder / "shades"))
    arrays = {
        f"x_{split}": rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8) for split, n in (("train", 60), ("test", 30))
    }
    arrays |= {f"y_{split}": np.arange(len(arrays[f"x_{split}"])) % 3 for split in ("train", "test")}
    with (folder / "imported_arrays.zip").open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    (folder / "published").mkdir()
    (folder / "published" / "note.txt").write_text("A file of this machine.\n")
    return folder


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """An HTTP server of a folder's files. Yields its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def content(path: Path, base: str) -> bytes:
    """What of a file is compared: all of it, but of report.json no software versions, and of a page the numbers alone.

    A page (.html, .md) may be worded and laid out anew; the numbers in its text may not change.
    """
    if path.name == "report.json":
        return json.dumps({**json.loads(path.read_text()), "software": {}}).encode()
    if path.suffix == ".html":
        text = re.sub(r"(?s)<(svg|style|script)\b.*?</\1>|<[^>]*>", " ", path.read_text())
        return " ".join(_numbers(html.unescape(text))).encode()
    if path.suffix == ".md":
        return " ".join(_numbers(re.sub(r"\(exported by .*?\)", "", path.read_text()))).encode()
    return path.read_bytes().replace(base.encode(), HOST.encode())


def _numbers(text: str) -> list[str]:
    return re.findall(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?", text)


def _inputs(node: Node, folder: Path, recorded: Results) -> dict[str, list[Input]]:
    fields: dict[str, list[Input]] = {}
    for ref in sorted(node.inputs, key=lambda ref: ref.index):
        path = folder / ref.node / "out"
        if KINDS[node.kind].RESULTS_ONLY and ref.node in recorded and recorded[ref.node]["key"] == ref.key:
            path = folder / node.name / "recorded" / ref.node
            path.mkdir(parents=True, exist_ok=True)
            (path / "result.json").write_text(json.dumps(recorded[ref.node]["result"]))
        fields.setdefault(ref.field, []).append(Input(path, ref.key))
    return fields


def _files(run: LocalRun, base: str) -> dict[str, str]:
    paths = [path for path in sorted(run.out.rglob("*")) if path.is_file()]
    files = {path.relative_to(run.out).as_posix(): content(path, base) for path in paths}
    del files["result.json"]
    metrics = sorted((name, step, value) for (name, step), value in run.metrics.items() if name != "images_per_s")
    if metrics:
        files["metrics"] = json.dumps(metrics).encode()
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def main(output: Path, recorded: Path | None) -> None:
    """Compute everything in a temporary folder and write the results, with the environment, to a file."""
    given: Results = json.loads(recorded.read_text())["results"] if recorded else {}
    with tempfile.TemporaryDirectory(prefix="robxfer-golden-") as folder:
        results = compute_all(Path(folder), given)
    output.write_text(json.dumps({"environment": environment(), "results": results}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
