"""What a source-modification report calls its arms and its costs."""

from robxfer_core.jobs.source_modification_report import ArmName

NAMES: dict[ArmName, str] = {
    "standard": "standard",
    "robust": "robust data",
    "nonrobust": "non-robust data",
    "adversarial": "adversarial",
    "random_init": "random network",
}


def operations(count: float) -> str:
    """'1.25 TFLOP'."""
    for size, unit in ((1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e9:.3g} GFLOP"
