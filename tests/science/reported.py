"""Reports and verdicts of made-up studies."""

import json
from pathlib import Path
from typing import Any

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.run import LocalRun
from robxfer_core.reports.transfer_gap.collect import collect
from robxfer_core.reports.transfer_gap.content import PanelVerdict
from robxfer_core.reports.transfer_gap.summary import summarise

from .synthetic import Study

PAIR = ("standard", "antirobust")


def build(study: Study, folder: Path) -> tuple[dict[str, Any], dict[str, Any], Path]:
    """(report.json, result.json, the artifact's folder)."""
    run = LocalRun(folder)
    compute("transfer_gap_report", study.spec.params(), study.inputs, run)
    return *(json.loads((run.out / name).read_text()) for name in ("report.json", "result.json")), run.out


def verdicts(study: Study) -> dict[tuple[str, str], PanelVerdict]:
    content = summarise(study.spec, collect(study.spec, study.inputs))
    return {(verdict.target, verdict.variant): verdict for verdict in content.verdicts}
