"""The job `component_visualization_report`: figure 1, the two measures against eps, and what they show."""

from typing import Any

from robxfer_core.jobs.component_visualization_report import ComponentVisualizationReport
from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.reports.page.blocks import Block, Heading, Headline, Picture, Table, Text, embedded_png, inline_svg
from robxfer_core.reports.page.render import render_page
from robxfer_core.reports.plotting import png, svg
from robxfer_core.reports.report_json import write_report

from . import figure
from .collect import collect, write_results
from .summary import MEASURES, p_text, summarise

FIGURE1 = (
    "In each cell the image that drives a component up, from noise, and beside it the nine test images on which that "
    "component of that network is largest; the first seed alone. A component's number means another feature in each "
    "network."
)
MEASURED = (
    "Mean over networks and components; thick bars: interval over components, for these networks; thin bars (from "
    "three seeds on): interval over trainings."
)
DEFINED = (
    "Smoothness: the slope of log power on log radial frequency of the picture; white noise has 0, natural images "
    "about -2. Meaning: an independent network, the judge, represents the picture and all test images; AUROC is the "
    "probability that one of the component's top-9 images lies nearer the picture (cosine, after the test images' mean "
    "is taken off) than another test image. Of the start: the same for the noise that the picture began as, which "
    "should be .5. Of a top image: the same for a top image in the picture's place; a picture can hardly do better. "
    "Alive: components that images activate; the others have no AUROC. Robust: accuracy under attack at the eps that "
    "the network was trained at."
)
LIMITS = (
    "Neither number is what a person sees: a picture can be smooth and mean nothing, and a judge can go by colour. The "
    "judge is a standard network, so the AUROC says what is alike to such a network."
)


def report(spec: ComponentVisualizationReport, inputs: Inputs, run: Run) -> dict[str, Any]:
    """Write report.json, the figures, report.html and results.parquet; return headline and table.

    The same inputs give the same bytes. Raises collect.BadStudy where the results do not make a study.
    """
    run.progress(0, 3, "parts")
    families = collect(spec, inputs)
    summary = write_report(summarise(spec.title, families, spec.confidence), run.out)
    write_results(families, run.out / "results.parquet")
    run.progress(1, 3, "parts")
    drawn = {"figure1": figure.pictures(families), "figure1_measures": figure.measures(summary["architectures"])}
    pngs = {name: png(each) for name, each in drawn.items()}
    svgs = {name: svg(each) for name, each in drawn.items()}
    for name in drawn:
        (run.out / f"{name}.png").write_bytes(pngs[name])
        (run.out / f"{name}.svg").write_bytes(svgs[name])
    run.progress(2, 3, "parts")
    blocks: list[Block] = [
        Headline(summary["headline"]["text"] + "."),
        Picture(embedded_png(pngs["figure1"], "pictures of components by eps and architecture"), FIGURE1),
        Picture(inline_svg(svgs["figure1_measures"]), MEASURED),
        Heading("By level"),
        Table(summary["table"]["columns"], summary["table"]["rows"]),
        Text(DEFINED),
        Heading("Trends"),
        Table(
            ["measure", "architecture", "blocks", "direction", "p (Page's L, two-sided)", "p (Holm)", "Spearman"],
            [_trend(row) for row in summary["trends"]],
        ),
        Text(LIMITS),
    ]
    if summary["weak"]:
        told = "Not more robust at their own eps than the standard network, so that these levels say nothing: "
        blocks.append(Text(told + ", ".join(summary["weak"]) + "."))
    (run.out / "report.html").write_text(render_page(summary["title"], blocks), encoding="utf-8")
    run.progress(3, 3, "parts")
    return {name: summary[name] for name in ("title", "headline", "table")}


def _trend(row: dict[str, Any]) -> list[Any]:
    correlation = None if row["spearman"] is None else f"{row['spearman']:+.2f}"
    told = (p_text(row["p"]), p_text(row["p_holm"]))
    return [MEASURES[row["measure"]], row["architecture"], row["blocks"], row["direction"], *told, correlation]
