"""report.html and the figure of a source-modification study."""

from collections.abc import Sequence

from robxfer_core.jobs.source_modification_report import SourceModificationReport
from robxfer_core.reports import formatting
from robxfer_core.reports.base import Page
from robxfer_core.reports.page.blocks import Block, Heading, Headline, Picture, Table, Text, inline_svg
from robxfer_core.reports.page.render import render_page
from robxfer_core.reports.plotting import render_figure

from .collect import Study
from .content import ArmSummary, Costs, SourceModificationContent
from .figure import draw_figure
from .naming import NAMES, operations
from .table import results_table


def make_page(spec: SourceModificationReport, study: Study, content: SourceModificationContent) -> Page:
    """The page, with figure 4b."""
    figure4b = render_figure(draw_figure(content.curves, content.target))
    html = render_page(content.title, _blocks(content, figure4b.svg))
    return Page(html, {"figure4b": figure4b}, results_table(study, spec.target))


def _blocks(content: SourceModificationContent, figure4b: bytes) -> Sequence[Block]:
    settings, seeds = content.settings, len(content.seeds)
    intervals = f"Intervals of {100 * settings.confidence:g} %"
    return [
        Headline(content.headline.text),
        Picture(
            inline_svg(figure4b),
            f"Test accuracy on {content.target} by epoch of the linear head. Lines are means over {seeds} sources, "
            f"each of its own seed, with generators retrained; bands are {100 * settings.confidence:g} % intervals "
            "over them (pointwise).",
        ),
        Table(
            content.table.columns,
            content.table.rows,
            f"Accuracy of the sources on the source set's test split, and of heads on them at the last epoch. "
            f"{intervals}, over sources and test images; those of the differences simultaneous over "
            f"{settings.comparisons} arms. Accuracies in per cent, differences in points.",
        ),
        *(
            Text(f"{NAMES[arm.name]}: {arm.reason}.")
            for arm in content.arms
            if arm.reason and arm.verdict in ("unusable", "not_shown")
        ),
        Heading("The three advantages of transfer"),
        Table(
            ("sources", "first epoch", "epochs to 90 % of the asymptote", "asymptote", "tuned head"),
            [_advantages(arm) for arm in content.arms],
        ),
        Heading("The sets that were made"),
        Table(
            (
                "set",
                "generator, clean",
                f"generator at eps {settings.eps:g}",
                "distance of the seed images",
                "distance reached",
                "generator agrees on",
                "seed images of",
                "sources, clean",
                f"sources at eps {settings.eps:g}",
            ),
            [_sets(arm) for arm in content.arms if arm.made],
            "Distances are relative, |R(x_r) - R(x)| / |R(x)|. The generator agrees on an image where it gives it the "
            "class that it gives the original.",
        ),
        Heading("What they cost"),
        Table(
            ("sources", "updates of a source", "a source", "the generator", "making the set"),
            [
                (
                    NAMES[name],
                    f"{cost.updates:,}",
                    operations(cost.source),
                    operations(cost.generator) if cost.generator else None,
                    operations(cost.making) if cost.making else None,
                )
                for name, cost in content.costs.arms.items()
            ],
            "Floating-point operations as a plan counts them, a backward pass as two forward passes.",
        ),
        Text(_break_even(content.costs)),
        Heading("What the verdicts mean"),
        Table(("verdict", "when"), [(word.replace("_", " "), text) for word, text in content.meaning.items()]),
    ]


def _advantages(arm: ArmSummary) -> tuple[str | None, ...]:
    epochs = arm.epochs_to_90
    return (
        NAMES[arm.name],
        formatting.accuracy(arm.first),
        f"{formatting.number(epochs)} ({arm.reached} of {arm.seeds} sources)" if epochs else None,
        formatting.accuracy(arm.asymptote) if arm.asymptote else None,
        formatting.accuracy(arm.tuned) if arm.tuned else None,
    )


def _sets(arm: ArmSummary) -> tuple[str | None, ...]:
    sets, generator, source = arm.made, arm.generator, arm.source
    assert sets is not None
    seed_data = sets.seed_data
    return (
        NAMES[arm.name],
        formatting.accuracy(generator.clean) if generator else None,
        formatting.accuracy(generator.robust) if generator else None,
        f"{sets.relative_distance.start.mean:.3f}",
        f"{sets.relative_distance.stored.mean:.3f}",
        f"{formatting.percent(min(sets.agreement))} or more",
        f"the same set, {seed_data.n} images" if seed_data.same else f"{seed_data.name}, {seed_data.n} images",
        formatting.accuracy(source.clean) if source else None,
        formatting.accuracy(source.robust) if source else None,
    )


def _break_even(costs: Costs) -> str:
    even = costs.break_even
    answer = f"Here: at {even} sources." if even else "Here: never."
    return f"{costs.formula}. {answer} Heads, evaluations and reading of sets, alike in all arms, are left out."
