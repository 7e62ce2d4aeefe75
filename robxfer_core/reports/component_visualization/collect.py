"""The results of a study of components, read into arrays by architecture, level and seed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from robxfer_core.jobs.component_visualization_report import ComponentVisualizationReport
from robxfer_core.jobs.run import Inputs


class BadStudy(ValueError):
    """Results that do not make a study: the message names the architecture and what it lacks."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of one network."""

    result: dict[str, Any]
    folder: Path
    key: str

    def values(self, name: str) -> np.ndarray:
        """A measure of each component that has it, float64 [k]: AUROCs are there where images activate it."""
        found = [row[name] for row in self.result["components"] if row[name] is not None]
        return np.asarray(found, dtype=np.float64)

    def arrays(self) -> dict[str, np.ndarray]:
        """What visualization.npz holds."""
        with np.load(self.folder / "visualization.npz", allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}


@dataclass(frozen=True)
class Family:
    """The networks of one architecture."""

    label: str
    eps: tuple[float, ...]
    seeds: tuple[int, ...]
    pictures: dict[tuple[float, int], Pictures]
    accuracy: dict[tuple[float, int], dict[float, float]]
    """Of each network, test accuracy under attack by eps of the attack; 0 is clean. Empty for what others published."""

    def mean(self, name: str) -> np.ndarray:
        """A measure's mean over each network's components, [seed, level]; NaN where no component has it."""
        rows = [[self.pictures[eps, seed].values(name) for eps in self.eps] for seed in self.seeds]
        return np.array([[values.mean() if len(values) else np.nan for values in row] for row in rows])

    def accuracies(self, eps: float, attacked: float) -> float | None:
        """Mean over seeds, of the networks trained at eps; None for a family that nobody evaluated here."""
        if not self.accuracy:
            return None
        return float(np.mean([self.accuracy[eps, seed][attacked] for seed in self.seeds]))


def collect(spec: ComponentVisualizationReport, inputs: Inputs) -> list[Family]:
    """The families in the order of the spec. Raises BadStudy where a network is missing, doubled or not pictured."""
    return [_family(each.label, inputs, index) for index, each in enumerate(spec.architectures)]


def _family(label: str, inputs: Inputs, index: int) -> Family:
    pictures: dict[tuple[float, int], Pictures] = {}
    for item in inputs.all(f"architectures.{index}.visualizations"):
        result = json.loads((item.path / "result.json").read_bytes())
        if result["mode"] != "component":
            raise BadStudy(f"{label}: a visualisation of mode {result['mode']}; takes mode component")
        at = _network(result)
        if at in pictures:
            raise BadStudy(f"{label}: eps {at[0]:g}, seed {at[1]} is there twice")
        pictures[at] = Pictures(result, item.path, item.key)
    accuracy = {}
    for item in inputs.all(f"architectures.{index}.sources"):
        result = json.loads((item.path / "result.json").read_bytes())
        accuracy[_network(result)] = {float(eps): value for eps, value in result["robust"].items()} | {
            0.0: result["clean"]
        }
    eps, seeds = (tuple(sorted({at[axis] for at in pictures})) for axis in (0, 1))
    lacking = [(e, s) for e in eps for s in seeds if (e, s) not in pictures or (accuracy and (e, s) not in accuracy)]
    if lacking or len(eps) < 2:
        raise BadStudy(f"{label}: levels {list(eps)}; lacks pictures or accuracy of (eps, seed) {lacking[:5]}")
    return Family(label, eps, tuple(int(seed) for seed in seeds), pictures, accuracy)


def _network(result: dict[str, Any]) -> tuple[float, int]:
    return float(result["model"]["threat"]["eps"]), int(result["model"]["seed"])


SCHEMA = pa.schema(
    [
        ("job_key", pa.string()),  # of the visualisation's job
        ("architecture", pa.string()),
        ("eps", pa.float64()),
        ("seed", pa.int64()),
        ("component", pa.int64()),
        ("start", pa.float64()),  # R_i of the seed image
        ("end", pa.float64()),  # R_i of the picture
        ("top", pa.float64()),  # mean R_i of its top-9 real images
        ("slope", pa.float64()),
        ("auroc", pa.float64()),  # null where no image activates the component
        ("auroc_start", pa.float64()),
        ("auroc_top", pa.float64()),
    ]
)


def write_results(families: list[Family], path: Path) -> None:
    """A row per component of every network."""
    parquet.write_table(pa.Table.from_pylist(list(_rows(families)), schema=SCHEMA), path)


def _rows(families: list[Family]) -> Iterator[dict[str, Any]]:
    for family in families:
        for (eps, seed), pictures in sorted(family.pictures.items()):
            about = {"job_key": pictures.key, "architecture": family.label, "eps": eps, "seed": seed}
            for row in pictures.result["components"]:
                yield about | {name: value for name, value in row.items() if name != "alive"}
