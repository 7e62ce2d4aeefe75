"""Constructed sets: what the jobs that made them report."""

from collections.abc import Sequence
from contextlib import suppress

from pydantic import ValidationError

from robxfer_core.jobs.control_dataset import ControlDatasetResult
from robxfer_core.jobs.embed_stego import EmbedStegoResult
from robxfer_core.jobs.perturb_dataset import PerturbDatasetResult
from robxfer_core.jobs.robustify_dataset import RobustifyDatasetResult
from robxfer_core.jobs.run import Input
from robxfer_core.reports.base import BadStudy
from robxfer_core.reports.sources import arch_text

from .content import ConstructedSet, GeneratorSummary, StoredSummary

ConstructedResult = PerturbDatasetResult | ControlDatasetResult | RobustifyDatasetResult | EmbedStegoResult
"""The results of kinds that an arm's sets can be of."""
MODELS: tuple[type[ConstructedResult], ...] = (
    PerturbDatasetResult,
    ControlDatasetResult,
    RobustifyDatasetResult,
    EmbedStegoResult,
)


def read_constructed(item: Input) -> ConstructedResult:
    """The result of a job that constructed a set.

    Raises:
        BadStudy: It is not a result of such a kind.
    """
    for model in MODELS:
        with suppress(ValidationError):
            return model.read(item.path)
    raise BadStudy(f"the result of job {item.key} is that of no constructed set")


def generator_seed(result: ConstructedResult) -> int | None:
    """The seed of the network that a set was constructed with; None where there is none."""
    has_generator = isinstance(result, PerturbDatasetResult | RobustifyDatasetResult)
    return result.generator.seed if has_generator else None


def summarise_set(result: ConstructedResult) -> ConstructedSet:
    """What the report says of a set."""
    generator = stored = None
    if isinstance(result, PerturbDatasetResult | RobustifyDatasetResult):
        card = result.generator
        generator = GeneratorSummary(arch=arch_text(card.arch), name=card.name, seed=card.seed)
        stored = StoredSummary(dtype=result.stored.dtype, bytes=result.stored.bytes)
    match result:
        case PerturbDatasetResult():
            return ConstructedSet(
                eps=result.eps,
                eps_tried=result.eps_tried,
                generator_accuracy={**result.generator_accuracy},
                norm=result.norm,
                targets=result.targets,
                fooling=result.stored.fooling,
                generator=generator,
                stored=stored,
            )
        case ControlDatasetResult():
            return ConstructedSet(norm=result.norm, arm=result.arm, unreached=result.unreached, fooling=None)
        case RobustifyDatasetResult():
            accuracy = result.generator_accuracy.model_dump()
            return ConstructedSet(generator_accuracy=accuracy, fooling=None, generator=generator, stored=stored)
        case EmbedStegoResult():
            return ConstructedSet(fooling=None)


def too_rarely_fooling(results: Sequence[ConstructedResult], least: float) -> str | None:
    """Why perturbed sets are unusable, or None.

    Args:
        results: The constructed sets.
        least: The fooling rate that each split of each set takes at the least.
    """
    rates = [
        (rate, split, result.generator.seed)
        for result in results
        if isinstance(result, PerturbDatasetResult)
        for split, rate in result.stored.fooling.items()
        if rate < least
    ]
    if not rates:
        return None
    rate, split, seed = min(rates)
    more = f" (and {len(rates) - 1} more)" if len(rates) > 1 else ""
    return f"fooling rate {rate:.3f} on the {split} split of the set of seed {seed} is below {least:g}{more}"
