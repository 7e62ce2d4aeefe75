"""The kind `transfer`: a representation is taken to a new task."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from robxfer_core.spec.archs import LAYOUTS
from robxfer_core.spec.base import Ref, Strict
from robxfer_core.spec.fields import Attack, Precision, Schedule, Seed
from robxfer_core.spec.units import Images, LearningRate, Share, WeightDecay

from .base import DATASETS, Artifact, Job, Role
from .results import ModelCard, Norm, Outcomes, Record, Result, TaskSummary, is_none
from .shapes import UNKNOWN_IMAGES, UNKNOWN_LENGTH, ShapeContext, Shapes

Rate = Annotated[float, Field(gt=0, le=100)]

Decay = Annotated[float, Field(ge=0, le=10)]


class Heads(Strict):
    """How linear heads are trained on a representation.

    Defaults: SGD momentum .9, weight decay 5e-4, batch 64, x0.1 every third (Salman et al. 2020, appendix).
    """

    epochs: int = Field(default=60, ge=1, le=10_000)
    """Passes over the training images."""
    batch_size: int = Field(default=64, ge=1, le=65_536)
    """Images of one step."""
    lr: float = Field(default=0.01, gt=0, le=100)
    """The curve's learning rate and weight decay: one of each for the whole family."""
    weight_decay: float = Field(default=5e-4, ge=0, le=10)
    """As `lr`: one for the whole family."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of SGD."""
    schedule: Schedule = Schedule(kind="step", milestones=[1 / 3, 2 / 3])
    """The learning rate over the epochs."""
    sizes: list[Annotated[int, Field(ge=2)]] = Field(default=[], max_length=10)
    """Also train on nested stratified subsets of this many training images; the whole split is always trained on."""
    tune_lr: list[Rate] = Field(default=[0.001, 0.01, 0.1], max_length=20)
    """Learning rates of the tuned table; [] leaves it out."""
    tune_weight_decay: list[Decay] = Field(default=[0.0, 5e-4], min_length=1, max_length=20)
    """Weight decays of the tuned table: every pair is trained and the best on the validation split is reported."""
    validation: float = Field(default=0.2, gt=0, le=0.5)
    """Fraction of the training images, stratified, held out to choose the tuned head (never used for the curve)."""


class FineTuning(Heads):
    """How a network is trained on the new task where it is run every epoch: `Heads` with the field's defaults for that.

    Defaults: 150 epochs, lr .01 or .001, chosen on a validation split here (Salman et al. 2020, appendix).
    """

    epochs: int = Field(default=150, ge=1, le=10_000)
    """Passes over the training images."""
    tune_lr: list[Rate] = Field(default=[0.001, 0.01], max_length=20)
    """Learning rates of the tuned table, each a training of its own; [] leaves the table out."""
    tune_weight_decay: list[Decay] = Field(default=[5e-4], min_length=1, max_length=20)
    """Weight decays of the tuned table."""


class RobustTransfer(Strict):
    """Robust accuracy after transfer: PGD on the whole network, the new head on the backbone."""

    norm: Literal["l2", "linf"] = "l2"
    """Of the threat models."""
    eps: list[Annotated[float, Field(ge=0, le=1000)]] = Field(min_length=1, max_length=10)
    """Radii of the threat models, in pixels of the stored image; 0 is the clean accuracy on the same images."""
    max_images: int = Field(default=500, ge=1)
    """Attack the first this many test images."""
    attack: Attack = Attack(steps=20)
    """PGD, untargeted."""


Regime = Literal["fixed_feature", "full_network"]

Preset = Literal["clean", "salman2020"]

PRESETS: dict[Preset, dict[str, Any]] = {
    "clean": {},
    "salman2020": {
        "normalise": False,
        "frozen_batch_norm": "train",
        "random_resized_crop": True,
        "flip": True,
        "center_crop": True,
    },
}
"""What each preset says of the parameters that a job leaves out; `clean` is the defaults."""

BY_BACKBONE = tuple(name for settings in PRESETS.values() for name in settings)
"""Parameters of how images reach a backbone that is run every epoch."""


class Curve(Record):
    """A learning curve: one head, trained on n images. Accuracies are fractions."""

    n: Images
    """Training images."""
    standardised: bool
    """Whether features were divided by their standard deviations on the training split."""
    train_loss: list[float]
    """Mean training loss of each epoch."""
    test: list[Share]
    """Accuracy on the test split after each epoch."""
    mean_per_class: Share | None
    """Mean over classes of the accuracy after the last epoch; none in results of older versions."""
    correct_first: Outcomes
    """Which test images are classified right after the first epoch."""
    correct_last: Outcomes
    """The same after the last epoch."""
    clean_first: Share | None = Field(default=None, exclude_if=is_none)
    """Of a constructed set: accuracy after the first epoch on the images it was made from, with their own labels."""
    clean_last: Share | None = Field(default=None, exclude_if=is_none)
    """The same after the last epoch."""


class Asymptote(Record):
    """A head solved to its end by a second-order method, its penalty chosen on the validation part."""

    test: Share
    """Accuracy on the test split, a fraction."""
    l2: float
    """The chosen penalty."""
    validation: Share
    """Accuracy on the validation part, a fraction."""
    converged: bool
    """Whether the solver reached its tolerance."""


class Rates(Record):
    """A learning rate and a weight decay."""

    lr: LearningRate
    """Learning rate."""
    weight_decay: WeightDecay
    """Weight decay."""


class Candidate(Rates):
    """A pair that was tried."""

    validation: Share
    """Accuracy on the validation part, a fraction."""


class TunedHead(Record):
    """The head of the best learning rate and weight decay on the validation part. Accuracies are fractions."""

    best: Rates
    """The chosen pair."""
    validation: Share
    """Accuracy of the chosen pair on the validation part."""
    test: Share
    """Accuracy on the test split, after training on the whole training split."""
    mean_per_class: Share | None
    """Mean over classes of that accuracy; none in results of older versions."""
    correct: Outcomes
    """Which test images are classified right."""
    table: list[Candidate]
    """All pairs that were tried."""


class RobustAccuracy(Record):
    """Robust accuracy of the whole network after transfer."""

    norm: Norm
    """Of the threat models."""
    n: Images
    """Test images that were attacked."""
    accuracy: dict[str, Share]
    """By eps, a fraction."""


class TransferResult(Result):
    """What a representation is worth on a new task."""

    model: ModelCard
    """The source network."""
    data: TaskSummary
    """The new task."""
    features_key: str | None = Field(default=None, exclude_if=is_none)
    """The key of the `features` job, where heads were trained on stored features."""
    regime: Regime
    """fixed_feature or full_network."""
    unfrozen_blocks: int
    """Blocks of the body that were trained too."""
    curves: list[Curve]
    """Learning curves by training-set size, raw and standardised features."""
    asymptote: dict[Literal["raw", "standardised"], Asymptote]
    """What heads tend to; empty where the network was run every epoch."""
    tuned: TunedHead | None
    """The tuned head; none where nothing was tuned."""
    robust: RobustAccuracy | None
    """Robust accuracy; none where it was not asked for."""
    seed: int
    """The seed of the job."""

    @classmethod
    def upgrade(cls, result: dict[str, Any]) -> dict[str, Any]:
        """Results of older versions lack regimes, robust accuracies and means over classes."""
        curves = [{"mean_per_class": None, **curve} for curve in result["curves"]]
        tuned = result["tuned"] and {"mean_per_class": None, **result["tuned"]}
        older = {"regime": "fixed_feature", "unfrozen_blocks": 0, "robust": None}
        return {**older, **result, "curves": curves, "tuned": tuned}

    @property
    def n_train(self) -> int:
        """Training images of the largest curve."""
        return max(curve.n for curve in self.curves)


class Transfer(Heads, Job):
    """Transfer of a representation to a new task (the paper's section 2): y = W R(x) + b is learnt there.

    Two ways to ask: with `features`, linear heads on stored R(x), all of them trained together; with `model` and
    `dataset`, the backbone is run every epoch, which full-network transfer, unfrozen blocks, crops and the preset
    `salman2020` need. What is left out is then as in `FineTuning`.
    """

    RECIPE = 2
    ARTIFACT = Artifact.RESULT
    TAKES = {
        "features": ("features",),
        "clean": ("features",),
        "model": (Role.MODEL,),
        "dataset": DATASETS,
        "clean_dataset": (Role.SOURCE_DATASET,),
    }
    ENTRY = "robxfer_core.science.transfer.job:transfer"
    RESULTS = (TransferResult,)

    kind: Literal["transfer"] = "transfer"
    regime: Regime = "fixed_feature"
    """fixed_feature: the body stays as it is, the head alone is trained (logistic regression on R(x)); full_network:
    all of it is trained, from the source's weights (Salman et al. 2020, section 2)."""
    unfrozen_blocks: int = Field(default=0, ge=0, le=1000)
    """With fixed_feature: also train the body's last this many blocks. A block is a residual block (of `cnn`: a
    convolution with its batch norm), counted over all stages; the stem is none. Batch norm of what is trained uses and
    gathers the batch's moments; the rest is frozen."""
    features: Ref | None = None
    """The representation that heads are trained on, where it need not be computed again every epoch."""
    clean: Ref | None = None
    """Of a constructed set: R(x) of the set it was made from, by the same model. Its test split, with its own labels,
    is measured beside."""
    images_per_class: int | None = Field(default=None, ge=2, le=100_000)
    """Few-shot: learn from, and tune on, at most this many training images of each class, drawn by `seed` (a smaller
    draw is inside a larger one). Left out: all of them."""
    model: Ref | None = None
    """The source network, in place of `features`; beside them only for `robust`."""
    dataset: Ref | None = None
    """The new task's images; beside `features` only for `robust`."""
    clean_dataset: Ref | None = None
    """As `clean`, where the backbone is run: the images that a constructed set was made from."""
    preset: Preset | None = None
    """What the next five parameters are where they are left out. `clean`, the default: images normalised as in the
    source, the frozen part in eval mode, no crops. `salman2020`: what was run in Salman et al. 2020 (code of
    robust-models-transfer and the robustness library): unnormalised images, the frozen body in train mode (so that its
    batch norm uses the batch's moments and its statistics drift), random crops and flips, tested on the centre."""
    normalise: bool = True
    """Whether images are normalised by the source's mean and deviation; false: the body gets pixels in [0,1]."""
    frozen_batch_norm: Literal["eval", "train"] = "eval"
    """Mode of the frozen part's batch norm while the rest is trained."""
    random_resized_crop: bool = False
    """Train on random windows of 8 to 100 % of the area and aspect 3/4 to 4/3, resized to the network's input
    (torchvision's RandomResizedCrop, bilinear)."""
    flip: bool = False
    """Mirror training images left-right with probability one half."""
    center_crop: bool = False
    """Test on the middle 7/8 of the side (Resize 256, CenterCrop 224)."""
    precision: Precision = "fp32"
    """bf16: the network is run under autocast; weights stay fp32."""
    robust: RobustTransfer | None = None
    """Also measure robust accuracy, of the raw head (the network) on the whole training split after its last epoch."""
    seed: Seed = 0
    """Drives the subset, the head's start, the order of batches, crops, and the attacks' starts."""

    @property
    def on_features(self) -> bool:
        """Whether heads are trained on stored features."""
        return self.features is not None

    def params(self) -> dict[str, Any]:
        """The preset is no parameter of its own: it has set others."""
        return self.model_dump(mode="json", exclude={"run", "kind", "preset"})

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        filled = next((dict(settings) for name, settings in PRESETS.items() if name == given.get("preset")), {})
        if given.get("features") is None:
            filled |= {name: FineTuning.model_fields[name].default for name in FineTuning.__annotations__}
        return filled | given

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.on_features:
            by_backbone = ("regime", "unfrozen_blocks", *BY_BACKBONE)
            asked = [name for name in by_backbone if getattr(self, name) != type(self).model_fields[name].default]
            if asked:
                runs = f"{', '.join(asked)} {'run' if len(asked) > 1 else 'runs'} the network every epoch"
                raise ValueError(f"`model` and `dataset` in place of `features`, since {runs}")
            if self.clean_dataset is not None:
                raise ValueError("`clean` beside `features`; `clean_dataset` goes with `model` and `dataset`")
            if (self.robust is None) != (self.model is None) or (self.robust is None) != (self.dataset is None):
                raise ValueError("beside `features`, `model` and `dataset` exactly where `robust` is asked for")
        elif self.model is None or self.dataset is None:
            raise ValueError("`features`, or both `model` and `dataset`")
        elif self.clean is not None:
            raise ValueError("`clean_dataset` beside `model` and `dataset`; `clean` goes with `features`")
        if self.regime == "full_network" and self.unfrozen_blocks:
            raise ValueError("`unfrozen_blocks` with regime fixed_feature; full_network trains every block")
        return self

    def shapes(self, context: ShapeContext) -> Shapes:
        model = context[self.model] if self.model is not None else None
        data = context[self.dataset] if self.dataset is not None else None
        if model is not None and data is not None:
            context.check_model_takes(model, data, "model")
            blocks = sum(LAYOUTS[model.arch.name].blocks) if model.arch is not None else self.unfrozen_blocks
            if self.unfrozen_blocks > blocks:
                takes = f"at most {blocks}, the blocks of the network"
                raise context.error("unfrozen_blocks", str(self.unfrozen_blocks), takes)
        if self.features is not None:
            own = context[self.features]
            if self.clean is not None:
                _check_features(context, own, context[self.clean], "clean")
            if model is not None and data is not None:
                _check_features(context, own, replace(data, length=model.length), "model")
            own = replace(own, channels=data.channels if data else None, side=data.side if data else None)
        else:
            assert model is not None  # the validator: `features`, or `model` and `dataset`
            assert data is not None
            own = replace(data, arch=model.arch, length=model.length)
            if self.clean_dataset is not None:
                _check_same_task(context, data, context[self.clean_dataset])
        return self._training_images(context, own)

    def _training_images(self, context: ShapeContext, own: Shapes) -> Shapes:
        """The shapes with the images that heads are trained on, once those are seen to be there."""
        if self.images_per_class is not None and own.classes is not None:
            drawn = self.images_per_class * own.classes
            if own.train is not None and drawn > own.train:
                takes = f"at most {own.train // own.classes}, the training images there are of a class"
                raise context.error("images_per_class", str(self.images_per_class), takes)
            own = replace(own, train=drawn)
        for index, size in enumerate(self.sizes):
            if own.train is not None and size > own.train:
                raise context.error(("sizes", index), str(size), f"at most {own.train}, the training images there are")
        return own

    def flops(self, inputs: Mapping[str, Shapes], own: Shapes) -> float:
        images, tried = own.train or UNKNOWN_IMAGES, len(self.tune_lr) * len(self.tune_weight_decay)
        forward = inputs[self.model].forward if self.model is not None else 0.0
        robust = 0.0
        if self.robust is not None:
            attacked, attack = sum(eps > 0 for eps in self.robust.eps), self.robust.attack
            measured = min(self.robust.max_images, own.test or self.robust.max_images)
            robust = forward * measured * (len(self.robust.eps) + 3 * attacked * attack.steps * attack.restarts)
        if self.on_features:
            heads = 2 * (1 + len(self.sizes)) + tried
            weights = (own.length or UNKNOWN_LENGTH) * (own.classes or 10)
            return robust + 6.0 * weights * own.images * (heads * self.epochs + 100)
        # Blocks cost about the same: where a stage halves the side it doubles the channels.
        blocks = sum(LAYOUTS[own.arch.name].blocks) if own.arch is not None else 1
        trained = 1.0 if self.regime == "full_network" else min(1.0, self.unfrozen_blocks / blocks)
        seen = images + sum(self.sizes) + (tried * (1 - self.validation) + 1) * images * (tried > 0)
        checked = (own.test or 0) * (1 + len(self.sizes) + (tried > 0)) + tried * self.validation * images
        return robust + forward * self.epochs * ((1 + 2 * trained) * seen + checked)


def _check_features(context: ShapeContext, features: Shapes, clean: Shapes, field: str) -> None:
    """Refuse features that one head cannot take: of another length, or for other classes."""
    if features.length != clean.length or features.classes != clean.classes:
        got = f"features of length {clean.length} for {clean.classes} classes"
        takes = f"features by the same model, of length {features.length} for {features.classes} classes"
        raise context.error(field, got, takes)


def _check_same_task(context: ShapeContext, data: Shapes, clean: Shapes) -> None:
    """Refuse a `clean_dataset` that the data set cannot have been made from."""
    for name in ("classes", "side", "channels"):
        own, other = getattr(data, name), getattr(clean, name)
        if None not in (own, other) and own != other:
            takes = f"the set it was made from, of {name} {own}"
            raise context.error("clean_dataset", f"a set of {name} {other}", takes)
