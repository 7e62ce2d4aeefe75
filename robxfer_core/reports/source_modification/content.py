"""What the report.json of a source-modification study holds. Accuracies are fractions, eps in pixel units."""

from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from robxfer_core.jobs.results import DatasetSummary, Headline, Interval, Record, TableReportResult, TableResult
from robxfer_core.jobs.robustify_dataset import SeedData
from robxfer_core.jobs.source_modification_report import ArmName
from robxfer_core.reports.base import ReportContent
from robxfer_core.reports.verdict import Word

COMPARISON = ("difference", "first_difference", "verdict", "reason", "detectable")
"""Fields of arms that are compared with the standard one."""


class Settings(Record):
    """What the verdicts were decided by."""

    eps: float
    """Of adversarial training and of the robust accuracies."""
    margin: float
    """Differences of accuracy up to this count as none."""
    confidence: float
    """Of the intervals."""
    min_agreement: float
    """Agreement below which a constructed set is unusable."""
    endpoint: str
    """What is compared."""
    comparisons: int
    """Arms that are compared with the standard one."""


class NetworkAccuracy(Record):
    """Accuracy of networks on the source set's test split, over networks and images."""

    clean: Interval
    """On the images as they are."""
    robust: Interval
    """Under attack at the study's eps."""


class Distances(Record):
    """Relative distances from the originals' representations, over sets."""

    start: Interval
    """Of the seed images."""
    reached: Interval
    """Of the images that were made."""
    stored: Interval
    """Of those as stored."""


class AgreementAccuracy(Record):
    """Accuracy of the generators, over sets."""

    made: Interval
    """On the images that were made, with the labels of their originals."""
    test: Interval
    """On the test split of the original set."""


class ConstructedSets(Record):
    """The sets that the sources of an arm were trained on."""

    seed_data: SeedData
    """Where the seed images came from."""
    relative_distance: Distances
    """How near the representations came."""
    agreement: list[float]
    """By set, the fraction of images that the generator gives the class of their originals."""
    generator_accuracy: AgreementAccuracy
    """How well the generators classify."""


class ArmSummary(Record):
    """The statistics of one arm. In report.json the fields of the comparison stand among the others."""

    name: ArmName
    """The arm."""
    accuracy: Interval
    """Of heads after the last epoch."""
    first: Interval
    """The same after the first epoch."""
    epochs_to_90: Interval | None
    """Epochs to 90 % of the asymptote, over the sources that reach it."""
    reached: int
    """How many do."""
    seeds: int
    """Of so many."""
    asymptote: Interval | None
    """What accuracy tends to."""
    tuned: Interval | None
    """Test accuracy of tuned heads."""
    by_seed: list[float]
    """Accuracy after the last epoch, by source."""
    source: NetworkAccuracy | None
    """Of the sources on their own task; none of untrained networks."""
    generator: NetworkAccuracy | None
    """Of the networks that made the sets; none where the arm has none."""
    made: ConstructedSets | None
    """The sets; none where the arm has none."""
    difference: Interval | None = None
    """Of accuracy after the last epoch to the standard arm, simultaneous over the arms. This and the next four are of
    arms that are compared with the standard one; elsewhere they are none, and absent from report.json."""
    first_difference: Interval | None = None
    """The same after the first epoch."""
    verdict: Word | None = None
    """The verdict."""
    reason: str | None = None
    """Why, where it is unusable or not shown."""
    detectable: float | None = None
    """The smallest difference that the design would likely have shown."""

    @model_serializer(mode="wrap")
    def _without_what_does_not_apply(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        absent = COMPARISON if self.difference is None else ()
        return {name: value for name, value in handler(self).items() if name not in absent}


class ArmCost(Record):
    """What an arm costs, in floating-point operations as a plan counts them."""

    source: float
    """Training one source."""
    updates: int
    """Updates of its weights."""
    generator: float
    """Training the generator; 0 where there is none."""
    making: float
    """Making the set; 0 where there is none."""

    @property
    def once(self) -> float:
        """What is paid once, for any number of sources."""
        return self.generator + self.making


class Costs(Record):
    """What the arms cost."""

    unit: str
    """Of all costs."""
    formula: str
    """How the break-even is counted."""
    arms: dict[ArmName, ArmCost]
    """By arm; untrained networks have none."""
    break_even: int | None
    """The number of sources from which the robust set costs less than adversarial training; none: it never does."""


class Line(Record):
    """A mean learning curve with its pointwise interval, by epoch."""

    name: ArmName
    """The arm."""
    mean: list[float]
    """Mean over sources."""
    low: list[float] | None
    """Lower ends; none with one source."""
    high: list[float] | None
    """Upper ends; none with one source."""


class CurveGroup(Record):
    """The learning curves of all arms on one kind of features."""

    standardised: bool
    """Whether the features are standardised."""
    lines: list[Line]
    """By arm."""


class SourceModificationContent(ReportContent):
    """The content of report.json."""

    schema_version: int = Field(default=1, alias="schema")
    """Of this form."""
    target: str
    """The data set transferred to."""
    settings: Settings
    """What the verdicts were decided by."""
    source_data: DatasetSummary
    """The source set."""
    seeds: list[int]
    """Seeds of the sources."""
    arms: list[ArmSummary]
    """The arms, the standard one first."""
    costs: Costs
    """What the arms cost."""
    headline: Headline
    """The headline."""
    table: TableResult
    """The arms side by side."""
    curves: list[CurveGroup]
    """Learning curves on raw and on standardised features."""
    meaning: dict[Word, str]
    """What each verdict means."""

    def result(self) -> TableReportResult:
        return TableReportResult(title=self.title, headline=self.headline, table=self.table)
