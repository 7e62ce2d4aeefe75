"""report.html and the figures of a transfer-gap study. The template engine escapes every text from data."""

from matplotlib.figure import Figure

from robxfer_core.jobs.transfer_gap_report import TransferGapReport
from robxfer_core.reports import formatting
from robxfer_core.reports.base import Page
from robxfer_core.reports.page.blocks import inline_svg
from robxfer_core.reports.page.render import style_element, template_environment
from robxfer_core.reports.plotting import render_figure, svg

from .collect import Study
from .content import TransferGapContent
from .figure import CONTROLS, FLOORS, ROWS, draw_figure
from .table import results_table


def make_page(spec: TransferGapReport, study: Study, content: TransferGapContent) -> Page:
    """The page with its figures, and figure 3 as files. A report of control arms alone has theirs as figure 3."""
    floor = FLOORS[spec.regime]
    main = draw_figure(content.arms, content.verdicts, floor=floor)
    controls = draw_figure(content.arms, content.verdicts, CONTROLS, floor=floor)
    standardised = draw_figure(content.arms, [], standardised=True, floor=floor)
    if main is None:
        main, controls = controls, None
    assert main is not None  # a report has an arm
    figure3 = render_figure(main)
    html = _html(content, floor, figure3.svg, standardised, controls)
    return Page(html, {"figure3": figure3}, results_table(study))


def _html(
    content: TransferGapContent, floor: str, figure3: bytes, standardised: Figure | None, controls: Figure | None
) -> str:
    templates = template_environment(__package__ or "")
    templates.filters |= {
        "eps": lambda eps: floor if eps is None else formatting.eps_text(eps),
        "percent": formatting.percent,
        "accuracy": lambda interval: formatting.accuracy(interval) if interval else "-",
        "points": lambda interval: formatting.points(interval) if interval else "-",
        "number": lambda interval: formatting.number(interval) if interval else "-",
        "plain": lambda value: "-" if value is None else f"{value:.3g}",
        "p": lambda p: "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}",
        "rank": lambda value: "-" if value is None else f"{value:+.2f}",
        "listed": formatting.listed,
        "variant": lambda variant: ROWS.get(variant, variant),
    }
    return templates.get_template("report.html").render(
        report=content,
        floor=floor,
        style=style_element(),
        figure3=inline_svg(figure3),
        standardised=inline_svg(svg(standardised)) if standardised else None,
        controls=inline_svg(svg(controls)) if controls else None,
        family={level.arch for level in content.sources.levels},
    )
