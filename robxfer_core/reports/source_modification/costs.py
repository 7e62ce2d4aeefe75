"""What sources cost, in floating-point operations by the counts that a plan is costed with: equal on any machine."""

import math
from dataclasses import replace
from typing import Any

from robxfer_core.jobs.robustify_dataset import RobustifyDataset
from robxfer_core.jobs.shapes import Shapes
from robxfer_core.jobs.source_modification_report import SourceArm, SourceModificationReport
from robxfer_core.jobs.train import Train, Training
from robxfer_core.spec.base import Ref

from .collect import Study

FORMULA = (
    "The robust-data way costs G + M + N S for N sources: an adversarially trained generator (G), the set made by it "
    "(M) and N standard trainings (S); adversarial training costs N A. It breaks even at the smallest N with "
    "G + M + N S <= N A, ceil((G + M) / (A - S)), and never where S >= A"
)


def costs(spec: SourceModificationReport, study: Study) -> dict[str, Any]:
    """By arm the operations of one source, and of what its set costs once; and where robust data breaks even."""
    arms = {arm.name: _arm(arm, study) for arm in spec.arms if arm.training is not None}
    found: dict[str, Any] = {"unit": "floating-point operations", "formula": FORMULA, "arms": arms, "break_even": None}
    if {"robust", "adversarial"} <= arms.keys():
        robust, adversarial = arms["robust"], arms["adversarial"]
        once = robust["generator"] + robust["making"]
        found["break_even"] = break_even(once, robust["source"], adversarial["source"])
    return found


def break_even(once: float, each: float, other: float) -> int | None:
    """The smallest number N of sources with once + N each <= N other; None: there is none."""
    return max(1, math.ceil(once / (other - each))) if each < other else None


def _arm(arm: SourceArm, study: Study) -> dict[str, Any]:
    assert arm.training is not None
    channels, side, _ = study.data["shape"]
    data = Shapes(channels, side, study.data["classes"], study.data["n_train"], study.data["n_test"])
    row = {"source": _training(arm.training, data), "updates": updates(arm.training, study.data["n_train"])}
    row |= {"generator": 0.0, "making": 0.0}
    made = next((each.made for each in study.arms if each.name == arm.name), ())
    if arm.generator_training is not None and made:
        generator = replace(data, arch=arm.generator_training.arch)
        steps = made[0]["cost"]["gradient_steps"] // made[0]["data"]["n_train"]
        making = RobustifyDataset(dataset=Ref("data"), generator=Ref("generator"), steps=steps)
        row["generator"] = _training(arm.generator_training, data)
        row["making"] = making.flops({"data": data, "generator": generator}, data)
    return row


def _training(training: Training, data: Shapes) -> float:
    job = Train.model_validate({**training.model_dump(), "dataset": "data"})
    return job.flops({"data": data}, data)


def updates(training: Training, images: int) -> int:
    """Updates of the weights in one training on so many images, of which `holdout` are left out."""
    kept = images - round(training.holdout * images)
    batches, rest = divmod(kept, training.batch_size)
    return training.epochs * (batches + (rest > 1))  # a last batch of one image is left out
