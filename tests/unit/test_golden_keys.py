"""Keys are those on record: results of other versions are found again, and a job that is done is not computed twice."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from robxfer_core.spec.datasets import BUILTIN, TORCHVISION
from tests.golden import RULE
from tests.golden.keys import KINDS, SPECS, Record, changes, current, plan_nodes, recorded

FREE = {"run"}
"""Fields that are in no key."""


@pytest.fixture(scope="module")
def now() -> Record:
    return current()


def test_the_keys_of_every_plan_are_those_on_record(now: Record) -> None:
    change = next(changes(recorded(), now), None)
    assert change is None, f"{change}; {RULE}"


def test_a_changed_key_is_owed_a_recipe_and_what_takes_it_is_not(now: Record) -> None:
    before = deepcopy(now)
    for spec in before.values():
        for kind in spec.keys() & {"perturb_dataset", "control_dataset"}:
            spec[kind]["digest"] = "0" * 64
    found = {(change.kind, change.owed) for change in changes(before, now)}
    assert found == {("perturb_dataset", True), ("control_dataset", False)}
    for spec in before.values():
        if "perturb_dataset" in spec:
            spec["perturb_dataset"]["recipe"] = 0
    assert not any(change.owed for change in changes(before, now))


def test_every_kind_is_on_record_with_every_field_away_from_its_default() -> None:
    jobs: dict[str, dict[str, Any]] = yaml.safe_load(SPECS[0].read_bytes())["jobs"]
    away = {(job["kind"], *path) for job in jobs.values() for path in _away(KINDS[job["kind"]].model_validate(job), ())}
    missing = [
        f"{kind}.{name}"
        for kind, model in KINDS.items()
        for name, field in model.model_fields.items()
        if name not in {"kind", *FREE} and not field.is_required() and (kind, name) not in away
    ]
    assert not missing
    assert {job["kind"] for job in jobs.values()} == set(KINDS)


def _away(model: BaseModel, at: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if value != field.get_default(call_default_factory=True, validated_data={}):
            yield (*at, name)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_key_does_not_depend_on_the_data_at_hand(path: Any) -> None:
    folder = {"shape": None, "classes": 12, "train": 3000, "test": 1000}
    names = {node.params["name"] for node in plan_nodes(path) if node.kind == "dataset"}
    catalog = dict.fromkeys(names, folder) | TORCHVISION | BUILTIN
    assert [node.key for node in plan_nodes(path, catalog)] == [node.key for node in plan_nodes(path)]
