"""Training images a second, standard and adversarial, as the kind `train` does it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.run import Input, Inputs, LocalRun


def run() -> Iterator[dict[str, Any]]:
    """The digits at 16x16, three epochs each."""
    with tempfile.TemporaryDirectory() as folder:
        data = LocalRun(Path(folder) / "data")
        compute("dataset", {"name": "digits", "size": 16, "interpolation": "nearest"}, Inputs({}), data)
        for eps, steps in ((0.0, 1), (1.0, 3), (1.0, 7)):
            done = LocalRun(Path(folder) / f"{eps}-{steps}")
            params = {
                "dataset": "0" * 64,
                "arch": {"name": "cnn", "width": 0.75},
                "threat": {"eps": eps},
                "attack": {"steps": steps},
                "epochs": 3,
                "batch_size": 64,
            }
            compute("train", params, Inputs({"dataset": [Input(data.out, "0" * 64)]}), done)
            yield {
                "model": "cnn x 0.75 at 16",
                "eps": eps,
                "steps": steps,
                "images_per_s": round(done.metrics["images_per_s", 3]),
            }
