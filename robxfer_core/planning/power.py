"""Power analysis: the difference of accuracy that the design of a study can detect, before anything runs."""

import math


def detectable_effect(
    seeds: int,
    levels: int,
    n_test: int,
    seed_sd: float,
    image_sd: float,
    *,
    targets: int = 1,
    margin: float = 0.01,
    confidence: float = 0.95,
    power: float = 0.8,
) -> float | None:
    """The smallest true difference acc(eps) - acc(0) that the design finds beyond the margin with the given power.

    The effect is `margin + (t[1 - alpha / (2 (levels - 1) targets)] + t[power]) * se`, where
    `se**2 = seed_sd**2 / seeds + image_sd**2 / n_test`, `alpha = 1 - confidence`, and both quantiles are those of
    Student's t with `seeds - 1` degrees of freedom. The interval of a report must lie wholly beyond the margin,
    simultaneously over the levels, at the strictest step of Holm's procedure over the targets.

    Args:
        seeds: Source models at each level.
        levels: Levels of robustness, eps = 0 among them.
        n_test: Test images, which all seeds share; at least 1.
        seed_sd: Assumed standard deviation, over seeds, of the paired difference of accuracy. Accuracy is a fraction:
            0.02 is 2 points.
        image_sd: Assumed standard deviation, over test images, of the seed-averaged paired difference beyond what
            seeds explain. It is at most `sqrt(2 a (1 - a))` at accuracy `a`, and usually well below.
        targets: Target data sets that are tested together; at least 1.
        margin: Differences within the margin count as none.
        confidence: Simultaneous confidence of the report's intervals, in (0, 1).
        power: Probability of detecting the effect, in (0, 1).

    Returns:
        The effect as a fraction of accuracy, or None where no difference can ever be shown: fewer than two seeds, or
        one level.

    Raises:
        ValueError: The design has no test image or no target.
    """
    if seeds < 2 or levels < 2:
        return None
    if n_test < 1 or targets < 1:
        raise ValueError("a design has at least one test image and one target")
    from scipy.special import stdtrit  # here, for it takes 0.4 s to import, and only plans with a report need it

    error = math.sqrt(seed_sd**2 / seeds + image_sd**2 / n_test)
    tail = (1 - confidence) / (2 * (levels - 1) * targets)
    return margin + (float(stdtrit(seeds - 1, power)) - float(stdtrit(seeds - 1, tail))) * error
