"""The job `report`: from the results of a study's jobs to its statistics, figure and page."""

import json
import math
from typing import Any

import matplotlib
import numpy
import scipy

from robxfer_core import __version__
from robxfer_core.science.run import Inputs, Run
from robxfer_core.spec.jobs import Report

from . import figure
from .collect import collect
from .html import page
from .summary import summarise
from .table import write_results

DIGITS = 6  # decimals kept of accuracies and eps: finer than any study resolves, coarser than rounding errors
SHOWN = ("target", "variant", "control", "verdict", "reason", "level", "difference", "low", "high", "detectable")


def report(spec: Report, inputs: Inputs, run: Run) -> dict[str, Any]:
    """Write report.json, figure3.png, figure3.svg, report.html and results.parquet; return verdicts and headline.

    The same inputs give the same bytes. Raises collect.BadStudy where the results do not make a study.
    """
    run.progress(0, 4, "parts")
    study = collect(spec, inputs)
    summary = summarise(spec, study) | {"software": versions()}
    summary = rounded(summary)
    (run.out / "report.json").write_text(json.dumps(summary, sort_keys=True, indent=1, allow_nan=False) + "\n")
    run.progress(1, 4, "parts")
    write_results(study, run.out / "results.parquet")
    run.progress(2, 4, "parts")
    main = figure.draw(summary["arms"], summary["verdicts"])
    controls = figure.draw(summary["arms"], summary["verdicts"], figure.CONTROLS)
    if main is None:  # a report of control arms alone
        main, controls = controls, None
    assert main is not None  # a report has an arm
    again = figure.draw(summary["arms"], [], standardised=True)
    drawn = figure.svg(main)
    (run.out / "figure3.png").write_bytes(figure.png(main))
    (run.out / "figure3.svg").write_bytes(drawn)
    run.progress(3, 4, "parts")
    beside = (figure.svg(each).decode() if each else None for each in (again, controls))
    html = page(summary, drawn.decode(), *beside)
    (run.out / "report.html").write_text(html, encoding="utf-8")
    run.progress(4, 4, "parts")
    return {
        "title": summary["title"],
        "verdicts": [{name: verdict[name] for name in SHOWN} for verdict in summary["verdicts"]],
        "headline": {name: summary["headline"][name] for name in ("text", "difference", "low", "high", "unit")},
    }


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
