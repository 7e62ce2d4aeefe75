"""report.html of a `which_eps` study."""

from collections.abc import Mapping
from typing import Any

from robxfer_core.reports.formatting import percent
from robxfer_core.reports.page.blocks import Block, Heading, Headline, Picture, Table, Text, inline_svg
from robxfer_core.reports.page.render import render_page

from .summary import amount_text, differing_text

METHOD = (
    "The level is chosen by validation accuracy: of training images that a head did not learn from while its learning "
    "rate and weight decay were tuned. The confidence set is that of Hsu's multiple comparisons with the best on the "
    "test images: it holds the level of the best expected test accuracy with the confidence given; a level outside it "
    "is beaten by another. Its critical values are of a bootstrap over seeds and test images, crossed, with Student's "
    "t for the number of seeds. What a level loses to the best is bounded for all levels at once, with the set; what "
    "it loses to the chosen has an interval that holds for the usual choices together."
)


def page(summary: Mapping[str, Any], figure: bytes) -> str:
    """The page of a report.json, with its figure as SVG."""
    blocks: list[Block] = [Headline(f"{summary['headline']['text']}.")]
    differing = differing_text(summary["few_shot_differs"])
    blocks += [Text(differing)] if differing else []
    blocks.append(
        Picture(
            inline_svg(figure),
            f"{summary['target']}: test accuracy of tuned heads by the level that the source was trained at. Mean over "
            f"seeds ({len(summary['seeds'])}), with {100 * summary['settings']['confidence']:g} % intervals of each.",
        )
    )
    columns, rows = summary["table"]["columns"], summary["table"]["rows"]
    blocks += [Heading("By level"), Table(columns, rows, "Accuracies in per cent, losses in points of test accuracy.")]
    blocks += [Text(text) for text in _notes(summary)]
    cost = [[row["part"], row["jobs"], _flops(row["flops"])] for row in summary["cost"]]
    blocks += [
        Heading("What it cost"),
        Table(["part", "jobs", "floating-point operations"], cost, "Counted, as a plan counts them; not measured."),
        Heading("How it was found"),
        Text(METHOD),
    ]
    return render_page(summary["title"], blocks)


def _flops(count: float | None) -> str:
    return "not counted: others trained it" if count is None else f"{count:.2g}"


def _notes(summary: Mapping[str, Any]) -> list[str]:
    notes = [f"{summary['caveat'].capitalize()}."] if summary["caveat"] else []
    for amount in summary["amounts"]:
        of = amount_text(amount["images_per_class"])
        if amount["random_init"]:
            notes.append(f"A frozen random network, {of}: {percent(amount['random_init']['mean'])}.")
        edge = sum(row["at_edge"] for row in amount["levels"])
        if edge:
            heads = len(summary["seeds"]) * len(amount["levels"])
            notes.append(f"{edge} of {heads} heads ({of}) were tuned to the smallest or largest learning rate tried.")
    return notes
