"""The learning rate over training."""

import math

from robxfer_core.spec.fields import Schedule


def rate(schedule: Schedule, done: float) -> float:
    """The factor on the learning rate after the fraction `done`, in [0,1), of the training.

    Warmup rises linearly from 0; `cosine` then falls to 0 over what is left of the training, and the milestones of
    `step` are fractions of the whole.
    """
    if done < schedule.warmup:
        return done / schedule.warmup
    if schedule.kind == "cosine":
        return (1 + math.cos(math.pi * (done - schedule.warmup) / (1 - schedule.warmup))) / 2
    if schedule.kind == "step":
        return schedule.factor ** sum(done >= milestone for milestone in schedule.milestones)
    return 1.0
