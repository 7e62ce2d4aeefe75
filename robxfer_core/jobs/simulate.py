"""The kind `simulate`: excess risk of representation transfer by Monte Carlo, without images."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from robxfer_core.spec.base import Strict
from robxfer_core.spec.fields import Seed
from robxfer_core.spec.units import Components, InputDeviations, NoiseDeviations, Samples, Share

from .base import Artifact, Job
from .results import Interval, Record, Result
from .shapes import Shapes


def _distinct(values: list[float]) -> list[float]:
    if len(set(values)) != len(values):
        raise ValueError(f"values without repetition, got {values}")
    return values


Distinct = AfterValidator(_distinct)

Count = Annotated[int, Field(ge=1, le=1_000_000)]

Radii = Annotated[list[Annotated[float, Field(ge=0, le=1000)]], Distinct]

Swept = Annotated[list[Count], Field(min_length=1, max_length=20), Distinct]

Sizes = Annotated[list[Annotated[int, Field(ge=10, le=200_000)]], Field(min_length=1, max_length=12), Distinct]

POINTS = 120
"""Most settings of one job: its result.json has a row for each."""

DRAWN = 20_000_000
"""Most numbers of an array of `Multiclass`, samples times the widest layer: they lie in memory in double precision."""


class Tasks(Strict):
    """Source tasks of one signal-to-noise ratio."""

    count: Count
    """How many."""
    snr: float = Field(ge=0, le=100)
    """|a_t|; the noise has standard deviation 1 in every coordinate."""


class Linear(Strict):
    """Linear representations of Deng et al. 2021 (section 2): x = y B a_t + eta, y = +-1, eta ~ N(0, I_d), |w| <= 1.

    The loss is -y <w, x>. Each source task t gives a w_t, standard or adversarially trained, in closed form; the
    representation is the span of the top r left singular vectors of all w_t; the target's head is fitted on it.
    Excess risk: |a| - <B^ w^, B a>. Lists are swept: every combination is a point.
    """

    name: Literal["linear"] = "linear"
    """Says that this setting is meant."""
    norm: Literal["l2", "linf"] = "l2"
    """Of the source tasks' threat model."""
    eps: Radii = Field(default=[0.0, 2.0], min_length=1, max_length=40)
    """Radii of the source tasks' threat model, in units of the noise's standard deviation; 0 is standard training."""
    dimension: int = Field(default=200, ge=2, le=2000)
    """d, of the inputs."""
    support: int | None = Field(default=None, ge=1, le=2000)
    """The signal lies in this many axis-aligned coordinates. Left out: in all of them."""
    rank: Swept = [5]
    """r, of the common representation."""
    tasks: Swept = [60]
    """T, source tasks of ratio `snr`."""
    snr: Annotated[list[Annotated[float, Field(gt=0, le=100)]], Distinct] = Field(
        default=[1.0], min_length=1, max_length=20
    )
    """|a_t| of those tasks."""
    weak: Tasks | None = None
    """Further source tasks of another ratio, beside them."""
    diversity: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Distinct] = Field(
        default=[1.0], min_length=1, max_length=20
    )
    """How evenly the a_t cover the r directions: the ratio of the least to the largest standard deviation, which falls
    geometrically over the directions. 1: their directions are uniform on the sphere. The target's always are."""
    n1: Swept = [100]
    """Samples of each source task."""
    n2: Swept = [200]
    """Samples of the target task."""

    @property
    def points(self) -> int:
        """How many settings the lists make."""
        lists = (self.eps, self.rank, self.tasks, self.snr, self.diversity, self.n1, self.n2)
        return math.prod(map(len, lists))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        room = min(self.dimension, self.support or self.dimension)
        if self.support is not None and self.support > self.dimension:
            raise ValueError(f"`support` up to the dimension, {self.dimension}")
        if max(self.rank) > room:
            raise ValueError(f"`rank` up to {room}, the coordinates that the signal lies in")
        if max(self.tasks) + (self.weak.count if self.weak else 0) > 5000:
            raise ValueError("at most 5000 source tasks, the weak ones included")
        return self

    @property
    def flops(self) -> float:
        """Operations of a repeat: two decompositions of a d x T matrix at each point, about 10 d T min(d, T) each."""
        weak = self.weak.count if self.weak else 0
        total = sum(20.0 * self.dimension * (t + weak) * min(self.dimension, t + weak) for t in self.tasks)
        return total * self.points / len(self.tasks)


class Multiclass(Strict):
    """The paper's own model (section 2.1): y = argmax(W_t R*(x) + b_t + noise), t = 1 the source, t = 2 the target.

    x ~ N(0, I_d), R* maps to R^r with coordinates of variance 1. phi and W1 are fitted on n1 samples by cross-entropy,
    phi is frozen, W2 and b2 are fitted on n2. Excess risk: E[L(W2^ phi^ + b2^) - L(W2* R* + b2*)] over fresh samples of
    the target. Lists are swept: every combination is a point.
    """

    name: Literal["multiclass"] = "multiclass"
    """Says that this setting is meant."""
    representation: Literal["linear", "mlp"] = "linear"
    """R* and phi: linear; mlp: one hidden layer, tanh, then linear."""
    hidden: int = Field(default=16, ge=1, le=512)
    """Units of the hidden layer, of `mlp`."""
    noise: Literal["gumbel", "gaussian"] = "gumbel"
    """gumbel: P(y|x) is the softmax of W_t R*(x) + b_t, so that W_t, b_t minimise the cross-entropy; gaussian (of the
    same variance): they do not, and an excess risk below 0 is possible."""
    dimension: int = Field(default=20, ge=2, le=1000)
    """d, of the inputs."""
    rank: int = Field(default=3, ge=1, le=200)
    """r, of the representation."""
    source_classes: int = Field(default=8, ge=2, le=200)
    """Classes of the source task."""
    target_classes: int = Field(default=4, ge=2, le=200)
    """Classes of the target task."""
    scale: float = Field(default=2.0, gt=0, le=100)
    """Standard deviation of a class's logit W_t R*(x), before the noise."""
    norm: Literal["l2", "linf"] = "l2"
    """Of the source task's threat model."""
    eps: Radii = Field(default=[0.0], min_length=1, max_length=10)
    """Radii that phi and W1 are trained at, in units of an input's standard deviation; 0 is standard training."""
    attack_steps: int = Field(default=5, ge=1, le=100)
    """PGD steps in adversarial training, of 2.5 eps / steps, without a random start."""
    n1: Sizes = [500, 1000, 2000, 4000, 8000]
    """Samples of the source task."""
    n2: Sizes = [100, 200, 400, 800, 1600, 3200]
    """Samples of the target task."""
    test: int = Field(default=10_000, ge=100, le=200_000)
    """Fresh samples of the target task that the excess risk is taken over."""

    @property
    def points(self) -> int:
        """How many settings the lists make."""
        return len(self.eps) * len(self.n1) * len(self.n2)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.rank > self.dimension:
            raise ValueError(f"`rank` up to the dimension, {self.dimension}")
        inside = max(self.dimension, self.hidden if self.representation == "mlp" else 0)
        source, target = max(inside, self.source_classes), max(inside, self.target_classes)
        for field, samples, width in (
            ("n1", max(self.n1), source),
            ("n2", max(self.n2), target),
            ("test", self.test, target),
        ):
            if samples * width > DRAWN:
                got = f"{samples} samples of up to {width} numbers (dimension, hidden units, classes)"
                raise ValueError(f"`{field}`: {got}; takes at most {DRAWN // width}, {DRAWN} numbers in all")
        if self.source_classes - 1 < self.rank:
            raise ValueError(f"`source_classes` of {self.rank + 1} or more: fewer tell less than `rank` directions")
        return self

    @property
    def flops(self) -> float:
        """Operations of a repeat: about 300 evaluations of loss and gradient a fit, each of three forward passes.

        Adversarial fits add the passes of the attack, and take about three times as many evaluations.
        """
        if self.representation == "linear":
            width, starts = self.dimension * self.rank, 1
        else:
            width, starts = (self.dimension + self.rank) * self.hidden, 2
        source = 2.0 * (width + self.rank * self.source_classes) * starts * sum(self.n1)
        passes = sum(3 * (3 + 3 * self.attack_steps) if eps > 0 else 3 for eps in self.eps)
        heads = 2.0 * self.rank * self.target_classes * len(self.eps) * len(self.n1) * 3
        return 300.0 * (source * passes + heads * (self.test + sum(self.n2)))


class LinearPoint(Record):
    """A point of a linear simulation at one eps; means over repeats."""

    rank: Components
    """r, of the representation."""
    tasks: int
    """Source tasks."""
    snr: float
    """Signal-to-noise ratio of the source tasks."""
    diversity: float
    """Diversity of the source tasks."""
    n1: Samples
    """Samples of a source task."""
    n2: Samples
    """Samples of the target task."""
    eps: NoiseDeviations
    """Radius of the source tasks' threat model, in standard deviations of the noise."""
    excess: Interval
    """Excess risk."""
    deviation: float
    """Standard deviation of the excess risk over repeats."""
    difference: Interval | None
    """Excess risk less that at the smallest eps, of the same draws; simultaneous over the levels."""
    expected: float
    """Mean of the excess risk over target samples, in closed form."""
    population: float
    """Excess risk with infinitely many samples."""
    subspace: float
    """|(I - B^ B^')B|, spectral norm."""
    surviving: float
    """Source tasks whose classifier is not 0."""
    surviving_expected: float | None
    """The same in closed form, where there is one."""
    short: Share
    """Share of repeats in which fewer tasks than the rank survive."""
    oracle: float
    """Excess risk with the true representation."""


class MulticlassPoint(Record):
    """A point of a multi-class simulation; means over repeats."""

    eps: InputDeviations
    """Radius of the source task's threat model, in standard deviations of an input."""
    n1: Samples
    """Samples of the source task."""
    n2: Samples
    """Samples of the target task."""
    excess: Interval
    """Excess risk."""
    representation: Interval
    """The part that is due to the representation."""
    head: Interval
    """The part that is due to the head."""
    head_asymptotic: float | None
    """That part to leading order in 1 / n2; none where the model is misspecified."""
    converged: Share
    """Share of repeats whose source fit converged."""


class Slope(Record):
    """A log-log slope of excess risk over a number of samples, beside the slopes of published bounds."""

    eps: InputDeviations
    """Radius of the source task's threat model."""
    over: Literal["n1", "n2"]
    """Over which number of samples."""
    of: Literal["excess", "representation", "head"]
    """Of which part of the excess risk."""
    slope: Interval | None
    """The slope; none where a value was not positive."""
    bounds: dict[Literal["du", "deng"], float]
    """Slopes of the bounds of Du et al. 2021 and Deng et al. 2021."""
    nearer: Literal["du", "deng"] | None
    """Which of them is nearer."""
    apart: bool
    """Whether the interval lies wholly on the nearer one's side."""


class SimulateResult(Result):
    """Excess risk of representation transfer at every point."""

    title: str
    """What a report calls it."""
    setting: Linear | Multiclass = Field(discriminator="name")
    """The model that was simulated."""
    repeats: int
    """Independent draws."""
    confidence: Share
    """Of the intervals."""


class LinearResult(SimulateResult):
    """Of a linear setting."""

    points: list[LinearPoint]
    """Every point at every eps."""


class MulticlassResult(SimulateResult):
    """Of a multi-class setting."""

    points: list[MulticlassPoint]
    """Every point."""
    slopes: list[Slope]
    """Log-log slopes."""


class Simulate(Job):
    """Excess risk of representation transfer by Monte Carlo, beside closed forms where there are any (section 2.1).

    Leaves results.parquet, a row for each point and repeat, and in result.json a summary of each point.
    """

    RECIPE = 2
    ARTIFACT = Artifact.RESULT
    ENTRY = "robxfer_core.science.simulate.job:simulate"
    RESULTS = (LinearResult, MulticlassResult)
    FILES = ("results.parquet",)

    kind: Literal["simulate"] = "simulate"
    title: str = Field(min_length=1, max_length=80)
    """What a report calls it."""
    setting: Linear | Multiclass = Field(discriminator="name")
    """The model that is simulated, by its `name`, and what is swept."""
    repeats: int = Field(default=20, ge=2, le=1000)
    """Independent draws of the model and the data; a repeat has the same draws at every eps."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of the intervals, which are Student's t over repeats."""
    seed: Seed = 0
    """Drives all draws."""

    @model_validator(mode="after")
    def _few(self) -> Self:
        if self.setting.points > POINTS:
            raise ValueError(f"lists of at most {POINTS} combinations, got {self.setting.points}")
        return self

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        return self.repeats * self.setting.flops
