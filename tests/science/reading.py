"""Data sets read by the job that reads them."""

from pathlib import Path
from typing import Any

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.run import Inputs, LocalRun


def read(root: Path | None = None, **params: Any) -> LocalRun:
    run = LocalRun(data_root=root)
    compute("dataset", params, Inputs({}), run)
    return run
