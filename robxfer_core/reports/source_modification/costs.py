"""What sources cost, in floating-point operations by the counts that a plan is costed with: equal on any machine."""

import math
from dataclasses import replace

from robxfer_core.jobs.robustify_dataset import RobustifyDataset
from robxfer_core.jobs.shapes import Shapes
from robxfer_core.jobs.source_modification_report import ArmName, SourceArm, SourceModificationReport
from robxfer_core.jobs.train import Train, Training
from robxfer_core.spec.base import Ref

from .collect import Study
from .content import ArmCost, Costs

FORMULA = (
    "The robust-data way costs G + M + N S for N sources: an adversarially trained generator (G), the set made by it "
    "(M) and N standard trainings (S); adversarial training costs N A. It breaks even at the smallest N with "
    "G + M + N S <= N A, ceil((G + M) / (A - S)), and never where S >= A"
)


def count_costs(spec: SourceModificationReport, study: Study) -> Costs:
    """By arm the operations of one source, and of what its set costs once; and where robust data breaks even."""
    arms: dict[ArmName, ArmCost] = {arm.name: _arm_cost(arm, study) for arm in spec.arms if arm.training is not None}
    even = None
    if "robust" in arms and "adversarial" in arms:
        even = break_even(arms["robust"].once, arms["robust"].source, arms["adversarial"].source)
    return Costs(unit="floating-point operations", formula=FORMULA, arms=arms, break_even=even)


def break_even(once: float, source: float, other: float) -> int | None:
    """The smallest number N of sources with once + N source <= N other; None: there is none."""
    return max(1, math.ceil(once / (other - source))) if source < other else None


def _arm_cost(arm: SourceArm, study: Study) -> ArmCost:
    assert arm.training is not None
    channels, side, _ = study.data.shape
    data = Shapes(channels, side, study.data.classes, study.data.n_train, study.data.n_test)
    sets = next((collected.sets for collected in study.arms if collected.name == arm.name), ())
    generating = making = 0.0
    if arm.generator_training is not None and sets:
        generator = replace(data, arch=arm.generator_training.arch)
        steps = sets[0].cost.gradient_steps // sets[0].data.n_train
        job = RobustifyDataset(dataset=Ref("data"), generator=Ref("generator"), steps=steps)
        generating = _training(arm.generator_training, data)
        making = job.flops({"data": data, "generator": generator}, data)
    return ArmCost(
        source=_training(arm.training, data),
        updates=updates(arm.training, study.data.n_train),
        generator=generating,
        making=making,
    )


def _training(training: Training, data: Shapes) -> float:
    job = Train.model_validate({**training.model_dump(), "dataset": "data"})
    return job.flops({"data": data}, data)


def updates(training: Training, images: int) -> int:
    """Updates of the weights in one training on so many images, of which `holdout` are left out."""
    kept = images - round(training.holdout * images)
    batches, rest = divmod(kept, training.batch_size)
    return training.epochs * (batches + (rest > 1))  # a last batch of one image is left out
