"""What the report.json of a transfer-gap study holds. Accuracies are fractions, eps in pixel units."""

from typing import Literal

from pydantic import Field

from robxfer_core.jobs.results import Interval, MeanMax, Record, Split, VerdictRow, is_none
from robxfer_core.jobs.transfer import Rates, Regime
from robxfer_core.jobs.transfer_gap_report import SlopeHeadline, TransferGapReportResult
from robxfer_core.reports.base import ReportContent, verdict_rows
from robxfer_core.reports.sources import SourceChecks
from robxfer_core.reports.stats import Trend
from robxfer_core.reports.verdict import Word


class Settings(Record):
    """What the verdicts were decided by."""

    margin: float
    """Differences of accuracy up to this count as none."""
    confidence: float
    """Of the intervals."""
    min_fooling: float
    """Fooling rate below which a constructed set is unusable."""
    norm: str
    """Of the sources' threat models."""
    endpoint: str
    """What is compared."""


class PanelVerdict(VerdictRow):
    """The verdict on a panel, and how it was reached."""

    void: bool
    """Whether the source networks void it."""
    p: float | None
    """p of the panel; none with one seed."""
    p_holm: float | None
    """The same after Holm's adjustment; none with one seed, or where the panel is unusable."""
    confidence: float
    """Of the intervals of its differences, at its step of Holm's procedure."""


class TargetSlopes(Record):
    """Slopes of accuracy on eps, on one target."""

    target: str
    """The data set."""
    standard: float
    """On the standard variant."""
    antirobust: float
    """On the antirobust variant."""
    difference: float
    """The second less the first."""
    low: float | None
    """Lower end of its interval."""
    high: float | None
    """Upper end of its interval."""

    @property
    def contrast(self) -> Interval:
        """The difference with its interval."""
        return Interval(mean=self.difference, low=self.low, high=self.high)


class LeftOut(Record):
    """A target that the headline leaves out."""

    target: str
    """The data set."""
    reason: str
    """Why."""


class SlopeContrast(SlopeHeadline):
    """The antirobust slope less the standard slope, over targets and by target."""

    targets: list[TargetSlopes]
    """By target."""
    left_out: list[LeftOut]
    """Targets without it."""


class RandomAccuracy(Record):
    """Accuracies of heads on networks at their random start."""

    accuracy: Interval
    """After the last epoch."""
    first: Interval
    """After the first epoch."""
    clean: Interval | None
    """Of a constructed set: on the images that it was made from, after the last epoch."""
    first_clean: Interval | None
    """The same after the first epoch."""


class LevelAccuracy(RandomAccuracy):
    """Accuracies of heads on the sources of one level."""

    eps: float
    """The level."""
    mean_per_class: Interval | None
    """Mean over classes of the accuracy; none where a head lacks it."""
    robust: dict[str, Interval]
    """Accuracy under attack after transfer, by eps of the attack."""
    by_seed: list[float]
    """Accuracy after the last epoch, by seed."""
    difference: Interval | None
    """To eps 0, after the last epoch; none at eps 0."""
    first_difference: Interval | None
    """The same after the first epoch."""


class Advantage(Record):
    """The three advantages of transfer at one level."""

    eps: float | None
    """The level; none for networks at their random start."""
    initial: Interval
    """Accuracy after the first epoch."""
    epochs_to_90: Interval | None
    """Epochs to 90 % of the asymptote, over the seeds that reach it."""
    reached: int
    """How many do."""
    seeds: int
    """Of so many."""
    asymptote: Interval | None
    """What accuracy tends to."""


class ChosenRates(Rates):
    """A learning rate and weight decay that were chosen."""

    seeds: int
    """For so many seeds."""


class TunedLevel(Record):
    """Tuned heads at one level."""

    eps: float
    """The level."""
    test: Interval
    """Test accuracy."""
    validation: Interval
    """Accuracy on the validation part."""
    chosen: list[ChosenRates]
    """What was chosen."""
    at_edge: int
    """Heads whose learning rate is the smallest or the largest that was tried."""


class EpsAccuracy(Record):
    """Accuracy at one level."""

    eps: float
    """The level."""
    accuracy: Interval
    """After the last epoch."""


class SizeAccuracies(Record):
    """Accuracies with one number of training images."""

    n: int
    """Training images."""
    levels: list[EpsAccuracy]
    """By level."""


class Chance(Record):
    """Accuracy that a control arm should not exceed."""

    expected: float
    """That of chance."""
    above: bool | None
    """Whether some level exceeds it by more than the margin; none with one seed."""


class GeneratorSummary(Record):
    """The network that a set was constructed with."""

    arch: str
    """Architecture and width."""
    name: str
    """`arch.tag`."""
    seed: int
    """Of its training."""


class StoredSummary(Record):
    """How a constructed set is stored."""

    dtype: str
    """Type of a pixel."""
    bytes: int
    """Size of all images."""


class ConstructedSet(Record):
    """A constructed set. What its kind does not report is none, and absent from report.json."""

    eps: float | None = Field(default=None, exclude_if=is_none)
    """The eps that was reached."""
    eps_tried: list[tuple[float, float]] | None = Field(default=None, exclude_if=is_none)
    """While eps was raised: each eps and its fooling rate."""
    generator_accuracy: dict[str, float] | None = Field(default=None, exclude_if=is_none)
    """By split, the generator's accuracy."""
    norm: dict[Split, MeanMax] | None = Field(default=None, exclude_if=is_none)
    """By split, the norm of the perturbation as stored."""
    targets: str | None = Field(default=None, exclude_if=is_none)
    """How target classes were drawn."""
    arm: str | None = Field(default=None, exclude_if=is_none)
    """Which control arm."""
    unreached: dict[Split, int] | None = Field(default=None, exclude_if=is_none)
    """By split, images that could not be moved as far."""
    fooling: dict[Split, float] | None
    """By split, the fooling rate of the images as stored; none for a set that is not perturbed."""
    generator: GeneratorSummary | None = Field(default=None, exclude_if=is_none)
    """The network that it was constructed with."""
    stored: StoredSummary | None = Field(default=None, exclude_if=is_none)
    """How it is stored."""


class Line(Record):
    """A mean learning curve with its pointwise interval, by epoch."""

    eps: float | None
    """The level; none for networks at their random start."""
    mean: list[float]
    """Mean over seeds."""
    low: list[float] | None
    """Lower ends; none with one seed."""
    high: list[float] | None
    """Upper ends; none with one seed."""


class CurveGroup(Record):
    """Learning curves of a panel on one kind of features."""

    n: int
    """Training images."""
    standardised: bool
    """Whether the features are standardised."""
    lines: list[Line]
    """By level, networks at their random start last."""


class ArmSummary(Record):
    """The statistics of one panel."""

    target: str
    """The data set."""
    variant: str
    """Its variant."""
    control: bool
    """Whether it is a control arm."""
    n_train: int
    """Training images."""
    n_test: int
    """Test images."""
    classes: int
    """Number of classes."""
    seeds: list[int]
    """Seeds that have every level."""
    dropped_seeds: list[int]
    """Seeds that lack a level."""
    levels: list[LevelAccuracy]
    """By level."""
    random_init: RandomAccuracy | None
    """Networks at their random start; none where the study has none."""
    trend: Trend
    """Page's trend test over the levels."""
    spearman: float | None
    """Mean of the within-seed rank correlations with eps."""
    kendall: float | None
    """The same, Kendall's tau-b."""
    slope: Interval
    """Accuracy per unit of eps."""
    advantages: dict[Literal["raw", "standardised"], list[Advantage]]
    """By kind of features."""
    unconverged: int
    """Solves that stopped before converging."""
    tuned: list[TunedLevel]
    """Tuned heads; empty where nothing was tuned."""
    sizes: list[SizeAccuracies]
    """By number of training images."""
    chance: Chance | None
    """For control arms whose labels do not follow from the image."""
    sets: list[ConstructedSet]
    """The constructed sets, by seed of their generator."""
    curves: list[CurveGroup]
    """Learning curves."""


class TransferGapContent(ReportContent):
    """The content of report.json."""

    schema_version: int = Field(default=1, alias="schema")
    """Of this form."""
    regime: Regime
    """fixed_feature or full_network."""
    settings: Settings
    """What the verdicts were decided by."""
    levels: list[float]
    """All levels."""
    seeds: list[int]
    """All seeds."""
    verdicts: list[PanelVerdict]
    """One for each panel."""
    headline: SlopeContrast
    """The headline."""
    sources: SourceChecks
    """The source networks on their own task."""
    arms: list[ArmSummary]
    """The panels."""
    meaning: dict[Word, str]
    """What each verdict means."""

    def result(self) -> TransferGapReportResult:
        names = SlopeHeadline.model_fields
        headline = SlopeHeadline(**{name: getattr(self.headline, name) for name in names})
        return TransferGapReportResult(title=self.title, verdicts=verdict_rows(self.verdicts), headline=headline)
