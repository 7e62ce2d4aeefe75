"""Small trainings on the 8x8 digits."""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from robxfer_core.jobs.run import Input, Inputs
from robxfer_core.jobs.train import Train
from robxfer_core.science.data.artifact import Batch, write_shards

KEY = "0" * 64


def digits(folder: Path, classes: list[int], n: int = 10_000) -> Inputs:
    """The 8x8 digits of some classes, every fifth image for testing."""
    folder.mkdir()
    pixels, labels = load_digits(return_X_y=True)
    kept = np.flatnonzero(np.isin(labels, classes))[:n]
    x = np.rint(pixels[kept].reshape(-1, 1, 8, 8) / 16 * 255).astype(np.uint8)
    y = np.searchsorted(classes, labels[kept])
    test = np.arange(len(y)) % 5 == 0
    splits = {"train": [Batch(x[~test], y[~test])], "test": [Batch(x[test], y[test])]}
    write_shards(folder, name="digits", variant="standard", classes=[str(c) for c in classes], splits=splits)
    return Inputs({"dataset": [Input(folder, KEY)]})


def spec_of(**params: Any) -> Train:
    given = {"dataset": KEY, "arch": {"name": "cnn", "width": 0.5}, "batch_size": 32, "epochs": 2}
    return Train.model_validate(given | params)
