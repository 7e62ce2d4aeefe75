"""What a transfer-gap design can detect, before anything runs. Pure Python: a plan says it in the bare install."""

import math


def t_cdf(t: float, df: int) -> float:
    """P(T <= t) of Student's t with a whole number df >= 1 of degrees of freedom (Abramowitz & Stegun 26.7.3-4)."""
    angle = math.atan2(t, math.sqrt(df))
    sine, cosine = math.sin(angle), math.cos(angle)
    term, total = (1.0, 1.0) if df % 2 == 0 else (cosine, cosine)
    for k in range(2 if df % 2 == 0 else 3, df, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    if df % 2 == 0:
        return 0.5 + 0.5 * sine * total
    return 0.5 + (angle + (sine * total if df > 1 else 0.0)) / math.pi


def t_quantile(p: float, df: int) -> float:
    """The t with P(T <= t) = p, for 0 < p < 1, by bisection on the angle in `t_cdf`."""
    if not 0 < p < 1 or df < 1:
        raise ValueError(f"p {p} must lie in (0, 1) and df {df} be at least 1")
    low, high = -math.pi / 2, math.pi / 2
    for _ in range(100):
        middle = (low + high) / 2
        if t_cdf(math.sqrt(df) * math.tan(middle), df) < p:
            low = middle
        else:
            high = middle
    return math.sqrt(df) * math.tan((low + high) / 2)


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
    """The smallest true difference acc(e) - acc(0) that the design calls `helps` or `hinders` with the given power.

    margin + (t[1 - alpha / (2 (levels - 1) targets)] + t[power]) * se, se^2 = seed_sd^2 / seeds + image_sd^2 / n_test,
    both quantiles those of Student's t with seeds - 1 degrees of freedom: the report's interval must lie wholly beyond
    the margin, simultaneously over the levels, at the strictest step of Holm's procedure over the targets.

    seeds: source models a level; levels: robustness levels, eps 0 among them; n_test: test images that the seeds share.
    seed_sd: assumed standard deviation, over seeds, of the paired difference of accuracy (a fraction: .02 is 2 points).
    image_sd: assumed standard deviation, over test images, of the seed-averaged paired difference beyond what seeds
    explain; at most sqrt(2 a (1 - a)) at accuracy a, usually well below.
    None where no difference can ever be shown: fewer than two seeds, or one level.
    """
    if seeds < 2 or levels < 2:
        return None
    if n_test < 1 or targets < 1:
        raise ValueError("a design has at least one test image and one target")
    error = math.sqrt(seed_sd**2 / seeds + image_sd**2 / n_test)
    tail = (1 - confidence) / (2 * (levels - 1) * targets)
    return margin + (t_quantile(1 - tail, seeds - 1) + t_quantile(power, seeds - 1)) * error
