"""The keys of the plans of every example, and of jobs of every kind with every parameter set (every_kind.yaml)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from robxfer_core.jobs.registry import KINDS, accepted_kinds
from robxfer_core.planning.experiment import read_spec
from robxfer_core.planning.plan import Node, make_plan
from robxfer_core.spec.base import digest

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("keys.json")
SPECS = (Path(__file__).with_name("every_kind.yaml"), *sorted((ROOT / "examples").rglob("*.yaml")))
LISTED = 8
"""Most nodes of a kind whose keys are all in the record; of more, the first one's and a digest."""


class Keys(TypedDict):
    """The keys of a plan's nodes of one kind."""

    recipe: int
    nodes: int
    digest: str
    """sha256 of all pairs of name and key, in order of name."""
    keys: dict[str, str]


Record = dict[str, dict[str, Keys]]
"""By spec (path from the repository's root), then by kind in the order of the plan."""


@dataclass(frozen=True)
class Change:
    """A kind whose keys differ from the record."""

    spec: str
    kind: str
    owed: bool
    """Whether neither the kind's recipe rose nor the keys of a kind that it takes changed."""
    difference: str

    def __str__(self) -> str:
        return f"{self.spec}: the key of kind {self.kind} changed ({self.difference})"


def plan_nodes(path: Path, catalog: Mapping[str, Any] | None = None) -> tuple[Node, ...]:
    """The nodes of a spec's plan, inputs first."""
    return make_plan(read_spec(path.read_bytes()), catalog).nodes


def current() -> Record:
    """What a record of now says."""
    return {path.relative_to(ROOT).as_posix(): _by_kind(plan_nodes(path)) for path in SPECS}


def recorded() -> Record:
    """What the record says."""
    return json.loads(FILE.read_text())


def changes(record: Record, now: Record) -> Iterator[Change]:
    """Every kind of every spec whose keys differ, in the order of the plans."""
    for spec in [*now, *(record.keys() - now.keys())]:
        before, after = record.get(spec, {}), now.get(spec, {})
        changed: set[str] = set()
        for kind in [*after, *(before.keys() - after.keys())]:
            if before.get(kind) == after.get(kind):
                continue
            rose = kind in before and kind in after and after[kind]["recipe"] > before[kind]["recipe"]
            model = KINDS.get(kind)
            taken = {name for field in model.TAKES for name in accepted_kinds(model, field)} if model else set()
            new = kind not in before and kind in after
            yield Change(
                spec, kind, not (new or rose or changed & taken), _difference(before.get(kind), after.get(kind))
            )
            changed.add(kind)


def _by_kind(nodes: tuple[Node, ...]) -> dict[str, Keys]:
    groups: dict[str, list[Node]] = {}
    for node in nodes:
        groups.setdefault(node.kind, []).append(node)
    return {
        kind: {
            "recipe": group[0].recipe,
            "nodes": len(group),
            "digest": digest(sorted([node.name, node.key] for node in group)),
            "keys": {node.name: node.key for node in (group if len(group) <= LISTED else group[:1])},
        }
        for kind, group in groups.items()
    }


def _difference(before: Keys | None, after: Keys | None) -> str:
    if before is None or after is None:
        return "it is not in the record" if before is None else "it is in the record alone"
    if before["recipe"] != after["recipe"]:
        return f"recipe {before['recipe']} in the record, now {after['recipe']}"
    if before["keys"].keys() != after["keys"].keys() or before["nodes"] != after["nodes"]:
        return f"{before['nodes']} nodes in the record, now {after['nodes']}, or other names"
    for name, key in before["keys"].items():
        if after["keys"][name] != key:
            return f"{name}: {key[:12]} in the record, now {after['keys'][name][:12]}"
    return "a node whose key is in the digest alone"
