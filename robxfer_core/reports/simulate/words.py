"""What simulations say, in a sentence."""

from collections.abc import Sequence
from typing import Any

SWEPT = ("rank", "tasks", "snr", "diversity", "n1", "n2")
BOUND = {"du": "Du's", "deng": "Deng's"}
PART = {"representation": "the representation's part", "head": "the head's part", "excess": "the excess risk"}


def headline(simulations: Sequence[dict[str, Any]]) -> str:
    """One after the other; those that sweep something else than eps only where there are no others."""
    main = [each for each in simulations if each["setting"]["name"] != "linear" or by_eps(each)]
    simulations = main or simulations
    told = [_linear(each) if each["setting"]["name"] == "linear" else _multiclass(each) for each in simulations]
    return "; ".join(told)


def by_eps(simulation: dict[str, Any]) -> bool:
    """Whether eps is all that a simulation sweeps, if anything."""
    setting = simulation["setting"]
    return all(len(setting[name]) == 1 for name in SWEPT if isinstance(setting.get(name), list))


def risk(band: dict[str, Any], sign: str = "") -> str:
    """'0.535 [0.500, 0.570]'."""
    return f"{band['mean']:{sign}.3f} [{band['low']:{sign}.3f}, {band['high']:{sign}.3f}]"


def slope(band: dict[str, Any] | None) -> str:
    """'-1.02 [-1.08, -0.96]'; '-' where there is none."""
    return "-" if band is None else f"{band['mean']:.2f} [{band['low']:.2f}, {band['high']:.2f}]"


def nearness(row: dict[str, Any]) -> str:
    """Where a slope lies among those of the bounds: 'nearer to Du's -1'."""
    if row["slope"]["low"] > max(row["bounds"].values()):
        return "flatter than both bounds"
    clearly = "" if row["apart"] else "not clearly "
    return f"{clearly}nearer to {BOUND[row['nearer']]} {row['bounds'][row['nearer']]:.2g}"


def cells(simulation: dict[str, Any]) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """The points of a linear simulation by all they are but eps."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for point in simulation["points"]:
        groups.setdefault(tuple(point[name] for name in SWEPT), []).append(point)
    return groups


def _linear(simulation: dict[str, Any]) -> str:
    groups = list(cells(simulation).values())
    name, norm = simulation["title"], simulation["setting"]["norm"]
    if len(simulation["setting"]["eps"]) < 2:
        points = sorted(simulation["points"], key=lambda point: point["excess"]["mean"])
        low, high = points[0]["excess"]["mean"], points[-1]["excess"]["mean"]
        span = f"{low:.3f}" if len(points) == 1 else f"{low:.3f} to {high:.3f} over {len(points)} settings"
        return f"{name}: excess risk {span}"
    if len(groups) > 1:
        helped = sum(_lowest(points)["difference"] is not None and _helps(_lowest(points)) for points in groups)
        return f"{name}: training at some {norm} eps lowers the excess risk in {helped} of {len(groups)} settings"
    (points,) = groups
    start = min(points, key=lambda point: point["eps"])
    best = _lowest(points)
    if best is start or not _helps(best):
        worst = max(points, key=lambda point: point["excess"]["mean"])
        return (
            f"{name}: no {norm} eps lowers the excess risk shown at eps {start['eps']:g}, "
            f"{start['excess']['mean']:.3f} (at most {worst['excess']['mean']:.3f}, at eps {worst['eps']:g})"
        )
    return (
        f"{name}: excess risk {start['excess']['mean']:.3f} at {norm} eps {start['eps']:g}, "
        f"{best['excess']['mean']:.3f} at eps {best['eps']:g} (difference {risk(best['difference'], '+')})"
    )


def _multiclass(simulation: dict[str, Any]) -> str:
    told = [
        f"{PART[row['of']]} has slope {slope(row['slope'])} in {row['over']}, {nearness(row)}"
        for row in simulation["slopes"]
        if row["of"] != "excess" and row["nearer"] and row["eps"] == min(simulation["setting"]["eps"])
    ]
    least = min(simulation["points"], key=lambda point: point["excess"]["mean"])["excess"]
    return f"{simulation['title']}: {', '.join(told) or f'least excess risk {risk(least)}'}"


def _lowest(points: list[dict[str, Any]]) -> dict[str, Any]:
    return min(points, key=lambda point: point["excess"]["mean"])


def _helps(point: dict[str, Any]) -> bool:
    return point["difference"] is not None and point["difference"]["high"] < 0
