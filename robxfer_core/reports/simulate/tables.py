"""Tables of simulations: the overview that the command line prints, all points, and the rows of results.parquet."""

from collections.abc import Sequence
from typing import Any

from robxfer_core.reports.page.blocks import Table

from .words import PART, SWEPT, cells, nearness, risk, slope

Simulation = dict[str, Any]


def overview(simulations: Sequence[Simulation]) -> dict[str, Any]:
    """`table` of report.json, strings ready to print: every eps, every slope; of what else is swept, the two ends."""
    rows: list[list[str | None]] = []
    for each in simulations:
        linear = each["setting"]["name"] == "linear"
        rows += [[each["title"], *row] for row in (_levels(each) if linear else _slopes(each))]
    return {"columns": ["simulation", "at", "excess risk or slope", "beside it"], "rows": rows}


def details(simulation: Simulation) -> list[Table]:
    """Every number of a simulation, for the page."""
    points = simulation["points"]
    if simulation["setting"]["name"] == "linear":
        columns = [
            *SWEPT, "eps", "excess risk", "difference to the least eps", "closed form over target samples",
            "infinite samples", "true representation", "|(I - B^B^')B|", "tasks that survive", "expected", "short",
        ]  # fmt: skip
        body = [
            [
                *(f"{point[name]:g}" for name in (*SWEPT, "eps")),
                risk(point["excess"]),
                risk(point["difference"], "+") if point["difference"] else None,
                *(f"{point[name]:.3f}" for name in ("expected", "population", "oracle", "subspace")),
                f"{point['surviving']:.1f}",
                None if point["surviving_expected"] is None else f"{point['surviving_expected']:.1f}",
                f"{100 * point['short']:.0f} %",
            ]
            for point in points
        ]
        caption = (
            "Survive: source tasks whose predictor is not 0, beside their expected number in closed form (l2). Short:"
            " repeats in which fewer than r survive, so that directions of the representation are arbitrary."
            " Differences are paired by repeat; their intervals hold for all eps of a setting at once."
        )
        return [Table(columns, body, caption)]
    columns = [
        "eps",
        "n1",
        "n2",
        "excess risk",
        "the representation's part",
        "the head's part",
        "(K - 1)(r + 1) / 2 n2",
        "converged",
    ]
    body = [
        [
            *(f"{point[name]:g}" for name in ("eps", "n1", "n2")),
            *(_small(point[name]) for name in ("excess", "representation", "head")),
            None if point["head_asymptotic"] is None else f"{point['head_asymptotic']:.4f}",
            f"{100 * point['converged']:.0f} %",
        ]
        for point in points
    ]
    caption = "Converged: repeats whose source fit ended at a minimum, and not at the limit of its steps."
    return [Table(columns, body, caption)]


def rows(simulations: Sequence[Simulation]) -> list[dict[str, Any]]:
    """A row a point: what it is, and its excess risk."""
    names = ("eps", "rank", "tasks", "snr", "diversity", "n1", "n2")
    return [
        {
            "simulation": each["title"],
            "setting": each["setting"]["name"],
            "repeats": each["repeats"],
            **{name: float(point[name]) if name in point else None for name in names},
            **{name: point["excess"][end] for name, end in (("excess", "mean"), ("low", "low"), ("high", "high"))},
        }
        for each in simulations
        for point in each["points"]
    ]


def _levels(simulation: Simulation) -> list[list[str | None]]:
    told: list[list[str | None]] = []
    swept = [name for name in SWEPT if len(simulation["setting"][name]) > 1]
    for points in cells(simulation).values():
        for point in points:
            at = ", ".join(f"{name} {point[name]:g}" for name in (*swept, "eps"))
            beside = f"{point['surviving']:.1f} tasks survive, |(I - B^B^')B| {point['subspace']:.2f}"
            told.append([at, risk(point["excess"]), beside + (", short" if point["short"] > 0 else "")])
    return told if len(cells(simulation)) == 1 else [told[0], told[-1]]


def _slopes(simulation: Simulation) -> list[list[str | None]]:
    several = len(simulation["setting"]["eps"]) > 1
    return [
        [
            (f"eps {row['eps']:g}, " if several else "") + f"{PART[row['of']]} by {row['over']}",
            slope(row["slope"]),
            f"Du {row['bounds']['du']:.2f}, Deng {row['bounds']['deng']:.2f}"
            + (f": {nearness(row)}" if row["nearer"] else ""),
        ]
        for row in simulation["slopes"]
    ]


def _small(band: dict[str, Any]) -> str:
    return f"{band['mean']:.4f} [{band['low']:.4f}, {band['high']:.4f}]"
