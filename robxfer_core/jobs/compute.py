"""The one door into science: kind -> function(spec, inputs, run) -> result."""

import json
import math
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from .base import Job
from .registry import kind_of
from .run import Inputs, Run

FUNCTIONS = {
    "dataset": "robxfer_core.science.data.read:read_dataset",
    "fetch": "robxfer_core.science.data.fetch:fetch",
    "import_dataset": "robxfer_core.science.data.uploads.dataset:import_dataset",
    "train": "robxfer_core.science.training.train:train",
    "import_model": "robxfer_core.science.models.imported:import_model",
    "evaluate": "robxfer_core.science.attacks.evaluate:evaluate",
    "perturb_dataset": "robxfer_core.science.construct.perturb:perturb_dataset",
    "control_dataset": "robxfer_core.science.construct.perturb:control_dataset",
    "robustify_dataset": "robxfer_core.science.construct.robustify:robustify_dataset",
    "features": "robxfer_core.science.transfer.job:features",
    "transfer": "robxfer_core.science.transfer.job:transfer",
    "visualize": "robxfer_core.science.visualize.job:visualize",
    "probe": "robxfer_core.science.probe.measure:probe",
    "component_visualization_report": "robxfer_core.reports.component_visualization.build:report",
    "export_dataset": "robxfer_core.science.data.export.job:export_dataset",
    "embed_stego": "robxfer_core.science.stego.embed:embed_stego",
    "detect_stego": "robxfer_core.science.stego.detect:detect_stego",
    "report": "robxfer_core.reports.transfer_gap.build:report",
    "simulate": "robxfer_core.science.simulate.job:simulate",
    "simulate_report": "robxfer_core.reports.simulate.build:report",
    "which_eps_report": "robxfer_core.reports.which_eps.build:report",
    "steganalysis_report": "robxfer_core.reports.steganalysis.build:report",
    "source_modification_report": "robxfer_core.reports.source_modification.build:source_modification_report",
}
FILES = {
    "dataset": ["dataset.json"],
    "import_dataset": ["dataset.json"],
    "train": ["model.json", "model.safetensors"],
    "import_model": ["model.json", "model.safetensors", "mapping.json"],
    "perturb_dataset": ["dataset.json", "examples.png"],
    "control_dataset": ["dataset.json", "examples.png"],
    "robustify_dataset": ["dataset.json", "examples.png"],
    "embed_stego": ["dataset.json", "examples.png"],
    "features": ["train_x.npy", "train_y.npy", "test_x.npy", "test_y.npy"],
    "visualize": ["visualization.npz", "visualization.png"],
    "component_visualization_report": [
        "report.json",
        "report.html",
        "figure1.png",
        "figure1.svg",
        "figure1_measures.png",
        "figure1_measures.svg",
        "results.parquet",
    ],
    "report": ["report.json", "report.html", "figure3.png", "figure3.svg", "results.parquet"],
    "simulate": ["results.parquet"],
    "simulate_report": ["report.json", "report.html", "figure.png", "figure.svg", "results.parquet"],
    "which_eps_report": ["report.json", "report.html", "figure.png", "figure.svg", "results.parquet"],
    "steganalysis_report": ["report.json", "report.html", "figure.png", "figure.svg", "results.parquet"],
    "source_modification_report": ["report.json", "report.html", "figure4b.png", "figure4b.svg", "results.parquet"],
}
"""What a kind leaves beside its result.json, at the least."""
RESULT_BYTES = 64 * 1024
"""Most bytes of a result.json: a report reads hundreds of them."""


def compute(kind: str, params: dict[str, Any], inputs: Inputs, run: Run) -> None:
    """Compute a job: its files, and `result.json`, are left in `run.out`.

    `params` are the kind's parameters as JSON, with keys where the spec had references. Raises LookupError for an
    unknown kind, pydantic's ValidationError for parameters that do not fit, ValueError for a result that is too large,
    not JSON or not finite, FileNotFoundError where the function left less than FILES, and whatever the function raises
    (`Preempted` among it).
    """
    spec = kind_of(kind).model_validate(params)
    result = _function(kind)(spec, inputs, run)
    lacking = [name for name in FILES.get(kind, ()) if not (run.out / name).is_file()]
    if lacking:
        raise FileNotFoundError(f"{kind} did not leave {', '.join(lacking)}")
    (run.out / "result.json").write_bytes(result_json(result))


def result_json(result: dict[str, Any]) -> bytes:
    """The bytes of a result.json: sorted keys, finite numbers, at most RESULT_BYTES."""
    for at, number in _floats(result):
        if not math.isfinite(number):
            raise ValueError(f"result{at} is {number}; takes finite numbers")
    text = json.dumps(result, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    if len(text) > RESULT_BYTES:
        raise ValueError(f"the result has {len(text)} bytes; takes at most {RESULT_BYTES}")
    return text


def _function(kind: str) -> Callable[[Job, Inputs, Run], dict[str, Any]]:
    # Imported only when used: the other kinds' modules cost a child memory and time.
    module, name = FUNCTIONS[kind].split(":")
    return getattr(import_module(module), name)


def _floats(value: Any, at: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield at, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _floats(item, f"{at}.{name}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _floats(item, f"{at}[{index}]")
