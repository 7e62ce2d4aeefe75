"""report.json: numbers rounded to what a study resolves, and what computed them."""

import json
import math
from pathlib import Path
from typing import Any

import matplotlib
import numpy
import scipy

from robxfer_core import __version__

DIGITS = 6  # decimals kept of accuracies and eps: finer than any study resolves, coarser than rounding errors


def write_report(summary: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write report.json, with the versions of the software in it. Returns its content."""
    summary = rounded(summary | {"software": versions()})
    (folder / "report.json").write_text(json.dumps(summary, sort_keys=True, indent=1, allow_nan=False) + "\n")
    return summary


def versions() -> dict[str, str]:
    """What computed the statistics."""
    found = {"robxfer": __version__, "numpy": numpy.__version__, "scipy": scipy.__version__}
    return found | {"matplotlib": matplotlib.__version__}


def rounded(value: Any) -> Any:
    """A JSON value with floats of at most DIGITS decimals (p values keep 3 significant digits), NaN and inf as null."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return float(f"{value:.3g}") if 0 < abs(value) < 1e-3 else round(value, DIGITS) + 0.0
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value
