"""report.html of a source-modification study, as blocks."""

from collections.abc import Mapping
from typing import Any

from robxfer_core.reports import formatting as words
from robxfer_core.reports.page.blocks import Block, Heading, Headline, Picture, Table, Text, inline_svg
from robxfer_core.reports.page.render import render_page

from .summary import NAMES, operations


def page(summary: Mapping[str, Any], figure4b: bytes) -> str:
    """The page of a report.json, with its figure as SVG."""
    settings, seeds = summary["settings"], len(summary["seeds"])
    intervals = f"Intervals of {100 * settings['confidence']:g} %"
    blocks: list[Block] = [
        Headline(summary["headline"]["text"]),
        Picture(
            inline_svg(figure4b),
            f"Test accuracy on {summary['target']} by epoch of the linear head. Lines are means over {seeds} sources, "
            f"each of its own seed, with generators retrained; bands are {100 * settings['confidence']:g} % intervals "
            "over them (pointwise).",
        ),
        Table(
            **summary["table"],
            caption=f"Accuracy of the sources on the source set's test split, and of heads on them at the last epoch. "
            f"{intervals}, over sources and test images; those of the differences simultaneous over "
            f"{settings['comparisons']} arms. Accuracies in per cent, differences in points.",
        ),
        *(
            Text(f"{NAMES[row['name']]}: {row['reason']}.")
            for row in summary["arms"]
            if row.get("reason") and row["verdict"] in ("unusable", "not_shown")
        ),
        Heading("The three advantages of transfer"),
        Table(
            ("sources", "first epoch", "epochs to 90 % of the asymptote", "asymptote", "tuned head"),
            [_advantages(row) for row in summary["arms"]],
        ),
        Heading("The sets that were made"),
        Table(
            (
                "set",
                "generator, clean",
                f"generator at eps {settings['eps']:g}",
                "distance of the seed images",
                "distance reached",
                "generator agrees on",
                "seed images of",
                "sources, clean",
                f"sources at eps {settings['eps']:g}",
            ),
            [_made(row) for row in summary["arms"] if row["made"]],
            "Distances are relative, |R(x_r) - R(x)| / |R(x)|. The generator agrees on an image where it gives it the "
            "class that it gives the original.",
        ),
        Heading("What they cost"),
        Table(
            ("sources", "updates of a source", "a source", "the generator", "making the set"),
            [
                (
                    NAMES[name],
                    f"{cost['updates']:,}",
                    operations(cost["source"]),
                    operations(cost["generator"]) if cost["generator"] else None,
                    operations(cost["making"]) if cost["making"] else None,
                )
                for name, cost in summary["costs"]["arms"].items()
            ],
            "Floating-point operations as a plan counts them, a backward pass as two forward passes.",
        ),
        Text(_break_even(summary["costs"])),
        Heading("What the verdicts mean"),
        Table(("verdict", "when"), [(word.replace("_", " "), text) for word, text in summary["meaning"].items()]),
    ]
    return render_page(summary["title"], blocks)


def _advantages(row: Mapping[str, Any]) -> tuple[str | None, ...]:
    reached, asymptote = row["epochs_to_90"], row["asymptote"]
    return (
        NAMES[row["name"]],
        words.accuracy(row["first"]),
        f"{words.number(reached)} ({row['reached']} of {row['seeds']} sources)" if reached else None,
        words.accuracy(asymptote) if asymptote else None,
        words.accuracy(row["tuned"]) if row["tuned"] else None,
    )


def _made(row: Mapping[str, Any]) -> tuple[str, ...]:
    made, generator = row["made"], row["generator"]
    start, reached = (made["relative_distance"][at]["mean"] for at in ("start", "stored"))
    seeds = made["seed_data"]
    return (
        NAMES[row["name"]],
        words.accuracy(generator["clean"]),
        words.accuracy(generator["robust"]),
        f"{start:.3f}",
        f"{reached:.3f}",
        f"{words.percent(min(made['agreement']))} or more",
        f"the same set, {seeds['n']} images" if seeds["same"] else f"{seeds['name']}, {seeds['n']} images",
        words.accuracy(row["source"]["clean"]),
        words.accuracy(row["source"]["robust"]),
    )


def _break_even(costs: Mapping[str, Any]) -> str:
    at = costs["break_even"]
    found = f"Here: at {at} sources." if at else "Here: never."
    return f"{costs['formula']}. {found} Heads, evaluations and reading of sets, alike in all arms, are left out."
