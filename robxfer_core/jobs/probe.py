"""The kind `probe`: measures a representation on a data set without training on it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from robxfer_core.spec.base import Ref
from robxfer_core.spec.fields import Attack, Precision, Seed
from robxfer_core.spec.units import Classes, Components, Images, Nats, PixelUnits, Share

from .base import DATASETS, Artifact, Job, Role
from .results import (
    DatasetName,
    Headline,
    ModelCard,
    Norm,
    Record,
    Result,
    Split,
    TableResult,
    TaskSummary,
)
from .shapes import UNKNOWN_IMAGES, UNKNOWN_LENGTH, ShapeContext, Shapes

Measure = Literal["usefulness", "cka", "leep", "logme", "knn"]

OWN: dict[Measure, tuple[str, ...]] = {
    "usefulness": (
        "model", "dataset", "also", "split", "norm", "eps", "attack", "components", "max_images", "seed", "precision",
    ),
    "cka": ("model", "other", "dataset", "split", "batch_size", "max_images", "seed", "precision"),
    "leep": ("model", "dataset", "split", "max_images", "precision"),
    "logme": ("features",),
    "knn": ("features", "k", "metric"),
}  # fmt: skip
"""The fields that each measure takes beside `measure`."""

REFERENCES = ("model", "other", "dataset", "features")

NEEDED: dict[Measure, tuple[str, ...]] = {
    measure: tuple(name for name in REFERENCES if name in own) for measure, own in OWN.items()
}
"""The references that a measure cannot do without."""

MOST = 50
"""Data sets times eps of one usefulness: its result.json has a part and a row for each."""


class ComponentCount(Record):
    """Which components were measured."""

    of: Components
    """Length of the representation."""
    measured: Components
    """Components that were measured."""
    constant: Components
    """Of those, the ones that never vary, of which nothing can be said."""


class FeatureCount(Record):
    """How many features have a property; all the intervals hold together."""

    count: int
    """By their estimates."""
    low: int
    """Those whose whole interval has it."""
    high: int
    """Those whose interval does not exclude it."""


class UsefulnessEstimate(Record):
    """An estimate with its 95 % interval."""

    value: float
    """The estimate."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""


class FeatureGroup(Record):
    """A group of features, by what they are on D."""

    features: int
    """Features in it."""
    rho: UsefulnessEstimate | None
    """Their mean usefulness; none where nothing was measured."""
    gamma: float | None
    """Their mean robust usefulness; none where nothing was measured."""


FeatureGroupName = Literal["robustly_useful", "useful_not_robust", "not_useful"]


class UsefulnessLevel(Record):
    """Usefulness under attack at one eps."""

    eps: PixelUnits
    """Radius of the threat model, in pixel units."""
    gamma: float | None
    """Mean robust usefulness over features."""
    first_order: float | None
    """The same to first order in eps, from gradients."""
    robustly_useful: FeatureCount
    """Features with gamma above 0."""
    useful_not_robust: FeatureCount
    """Features with rho above 0 and gamma not above 0."""
    by_group_on_d: dict[FeatureGroupName, FeatureGroup]
    """By what features are on D, their means on this set."""


class ProbedSet(DatasetName):
    """A set that was measured."""

    key: str
    """The key of the job that made it."""


class UsefulnessSet(Record):
    """Usefulness on one data set."""

    data: ProbedSet
    """The set."""
    n: Images
    """Its measured images."""
    features: int
    """Features: a component and a class each."""
    rho: float | None
    """Mean usefulness over features."""
    useful: FeatureCount
    """Features with rho above 0."""
    levels: list[UsefulnessLevel]
    """By eps, ascending."""


class ProbeResult(Result):
    """What every measure leaves."""

    measure: Measure
    """Which measure."""
    model: ModelCard
    """The network."""


class UsefulnessResult(ProbeResult):
    """Usefulness of the components of a representation."""

    components: ComponentCount
    """Which components were measured."""
    classes: Classes
    """Number of classes."""
    norm: Norm
    """Of the threat models."""
    eps: list[PixelUnits]
    """Radii, ascending."""
    split: Split
    """The split that was measured."""
    n_standardised: Images
    """Images of D that features were standardised on."""
    sets: list[UsefulnessSet]
    """D first, then each set of `also`."""
    title: str
    """What a table of it is called."""
    headline: Headline
    """What was found, in a sentence."""
    table: TableResult
    """The counts."""


class CkaResult(ProbeResult):
    """Linear CKA of two networks' representations."""

    other: ModelCard
    """The network that it is compared with."""
    cka: float | None
    """Linear CKA, unbiased; none where a representation does not vary."""
    error: float | None
    """Its standard error by a jackknife over minibatches; none of one minibatch."""
    batches: int
    """Minibatches."""
    n: Images
    """Images in them."""
    data: DatasetName
    """The images."""


class LeepResult(ProbeResult):
    """LEEP of a network on a data set."""

    leep: Nats
    """LEEP, at most 0, in nats."""
    uninformed: Nats
    """LEEP of a network that says nothing: minus the entropy of the labels."""
    n: Images
    """Images."""
    data: DatasetName
    """The data set."""


class LogmeResult(ProbeResult):
    """LogME of a representation on a data set."""

    logme: Nats
    """LogME: mean over classes of the largest log evidence per image."""
    classes: dict[str, Nats]
    """The same by class."""
    converged: bool
    """Whether every fixed point was reached."""
    n: Images
    """Images."""
    length: Components
    """Length of the representation."""
    data: TaskSummary
    """The data set."""


class KnnResult(ProbeResult):
    """Accuracy of nearest neighbours."""

    accuracy: dict[str, Share]
    """By k, a fraction."""
    interval: dict[str, list[Share]]
    """By k, a 95 % Wilson interval: lower and upper end."""
    metric: Literal["cosine", "euclidean"]
    """How near two representations are."""
    n_train: Images
    """Images that vote."""
    n_test: Images
    """Images that are classified."""
    data: TaskSummary
    """The data set."""


class Probe(Job):
    """One measure of a representation: usefulness of its components (the paper's section 3, Ilyas et al. 2019), linear
    CKA with another model's, LEEP, LogME, or the accuracy of nearest neighbours.

    `usefulness` leaves usefulness.parquet beside its result (a row for each data set, component, class and
    eps, with rho, gamma, their ratio and intervals) and figure_usefulness.png and .svg. `usefulness` takes `model`,
    `dataset`, `also`, `split`, `norm`, `eps`, `attack`, `components`, `max_images`, `seed`, `precision`; `cka` takes
    `model`, `other`, `dataset`, `split`, `batch_size`, `max_images`, `seed`, `precision`; `leep` takes `model`,
    `dataset`, `split`, `max_images`, `precision`; `logme` takes `features`; `knn` takes `features`, `k`, `metric`.
    """

    RECIPE = 2
    ARTIFACT = Artifact.RESULT
    TAKES = {
        "model": (Role.MODEL,),
        "other": (Role.MODEL,),
        "dataset": DATASETS,
        "also": DATASETS,
        "features": ("features",),
    }
    ENTRY = "robxfer_core.science.probe.measure:probe"
    RESULTS = (UsefulnessResult, CkaResult, LeepResult, LogmeResult, KnnResult)

    kind: Literal["probe"] = "probe"
    measure: Measure
    """usefulness: rho = E[y f] and gamma = E[inf y f(x + delta)] of every component and class (Ilyas et al.
    2019, section 2); cka: linear, minibatch, with the unbiased HSIC (Nguyen et al. 2021); leep: Nguyen et al. 2020;
    logme: You et al. 2021, exact for fewer images than components too; knn: a vote of the nearest training images."""
    model: Ref | None = None
    """The network (usefulness, cka, leep)."""
    other: Ref | None = None
    """The network that it is compared with (cka)."""
    dataset: Ref | None = None
    """The images (usefulness, cka, leep). For usefulness the set D, on which features are standardised and signed."""
    also: list[Ref] = Field(default=[], max_length=10)
    """Further sets, of the same classes, on which the very same features are measured: D_robust, D_antirobust, controls
    (usefulness; the paper's section 3)."""
    features: Ref | None = None
    """Stored representations of both splits (logme reads the training split; knn both)."""
    split: Literal["train", "test"] | None = None
    """Which images (usefulness, cka: the test split if left out; leep: the training split). A `robustify_dataset` has
    made its training split alone."""
    norm: Literal["l2", "linf"] = "l2"
    """Of the perturbations (usefulness)."""
    eps: list[Annotated[float, Field(gt=0, le=1000)]] = Field(default=[0.25, 0.5], min_length=1, max_length=10)
    """Radii at which gamma is measured, in pixel units (usefulness). Ilyas et al. 2019 take l2 .5 on CIFAR-10."""
    attack: Attack = Attack(steps=20, random_start=False)
    """PGD on y f, from the best point of the next smaller eps (usefulness). Further restarts begin at random."""
    components: int | None = Field(default=None, ge=1, le=100_000)
    """Measure this many components, drawn by the seed; left out: all (usefulness)."""
    max_images: int = Field(default=1000, ge=4, le=1_000_000)
    """Most images of a set that are measured, a stratified draw (usefulness, which keeps at least as many for the
    standardisation; cka; leep)."""
    batch_size: int = Field(default=256, ge=4, le=4096)
    """Images of a minibatch, over which the unbiased HSIC is averaged (cka). Nguyen et al. 2021 take 256. Memory grows
    with its square."""
    k: list[Annotated[int, Field(ge=1, le=10_000)]] = Field(default=[1, 5, 20], min_length=1, max_length=10)
    """Numbers of neighbours that vote (knn)."""
    metric: Literal["cosine", "euclidean"] = "cosine"
    """How near two representations are (knn)."""
    seed: Seed = 0
    """Draws components, images, batches and random starts (usefulness, cka)."""
    precision: Precision = "fp32"
    """bf16: under autocast (usefulness, cka, leep)."""

    @model_validator(mode="after")
    def _fields_of_its_measure(self) -> "Probe":
        own = OWN[self.measure]
        if alien := sorted(self.model_fields_set - {"kind", "run", "measure", *own}):
            raise ValueError(f"{', '.join(alien)} with measure {self.measure}, which takes {', '.join(own)}")
        if lacking := [name for name in NEEDED[self.measure] if getattr(self, name) is None]:
            raise ValueError(f"measure {self.measure} without {', '.join(lacking)}; takes {', '.join(own)}")
        if len(set(self.eps)) != len(self.eps) or len(set(self.k)) != len(self.k):
            raise ValueError("the same eps or k twice; takes different ones")
        if self.measure == "usefulness" and (parts := (1 + len(self.also)) * len(self.eps)) > MOST:
            got = f"{1 + len(self.also)} data sets at {len(self.eps)} eps are {parts} parts of a result"
            raise ValueError(f"{got}; takes at most {MOST}, in several jobs more")
        return self

    def params(self) -> dict[str, Any]:
        """The measure and what it takes: a field of another measure is in no key."""
        every = super().params()
        return {name: every[name] for name in ("measure", *OWN[self.measure])}

    def shapes(self, context: ShapeContext) -> Shapes:
        if self.features is not None:
            features = context[self.features]
            if self.measure == "knn" and features.train is not None and max(self.k) > features.train:
                takes = f"at most {features.train}, the training images there are"
                raise context.error("k", str(max(self.k)), takes)
            return features
        assert self.model is not None  # the validator: every measure without features has a model and a data set
        assert self.dataset is not None
        data, model = context[self.dataset], context[self.model]
        context.check_model_takes(model, data, "model")
        if self.other is not None:
            context.check_model_takes(context[self.other], data, "other")
        if self.components is not None and model.length is not None and self.components > model.length:
            takes = f"at most {model.length}, the length of the model's representation"
            raise context.error("components", str(self.components), takes)
        for index, reference in enumerate(self.also):
            other = context[reference]
            context.check_model_takes(model, other, ("also", index))
            if None not in (other.classes, data.classes) and other.classes != data.classes:
                takes = f"a set of the {data.classes} classes of `dataset`"
                raise context.error(("also", index), f"a set of {other.classes} classes", takes)
        return replace(model, train=data.train, test=data.test, side=data.side)

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        if self.features is not None:
            features = inputs[self.features]
            train, length = features.train or UNKNOWN_IMAGES, features.length or UNKNOWN_LENGTH
            if self.measure == "logme":  # a singular value decomposition
                return 10.0 * train * length**2
            return 2.0 * train * (features.test or UNKNOWN_IMAGES) * length
        assert self.model is not None
        assert self.dataset is not None
        model, data = inputs[self.model], inputs[self.dataset]
        default = "train" if self.measure == "leep" else "test"
        whole = (data.train if (self.split or default) == "train" else data.test) or UNKNOWN_IMAGES
        images = min(whole, self.max_images)
        if self.measure == "leep":
            return model.forward * images
        if self.other is not None:
            return (model.forward + inputs[self.other].forward) * images + 8.0 * images * self.batch_size * 512
        # For each image and component its gradient, and a search in both directions at every eps.
        components = self.components or model.length or UNKNOWN_LENGTH
        pairs = min(images, whole // 2) * components * (1 + len(self.also))
        searches = 2 * len(self.eps) * self.attack.restarts
        return model.forward * (whole + pairs * (3 + searches * (3 * self.attack.steps + 1)))
