"""Results of every kind are those on record, so that no change of the code changes them unnoticed."""

from copy import deepcopy
from typing import Any

import pytest

from tests.golden import RULE
from tests.golden.chain import SPEC
from tests.golden.compare import differences
from tests.golden.keys import KINDS, plan_nodes
from tests.golden.results import ARITHMETIC, FILE, Record, changes, current, recorded


@pytest.fixture(scope="module")
def record() -> Record:
    return recorded()


def test_the_results_of_every_kind_are_those_on_record(record: Record) -> None:
    change = next(changes(record, current(FILE)), None)
    assert change is None, f"{change}; {RULE}"


@pytest.mark.slow
def test_another_processor_computes_the_same_within_the_tolerance(record: Record) -> None:
    found = current(FILE, ATEN_CPU_CAPABILITY="default", ONEDNN_MAX_CPU_ISA="SSE41", OPENBLAS_CORETYPE="Nehalem")
    assert found["environment"]["cpu_capability"] != record["environment"]["cpu_capability"]
    assert not [str(change) for change in changes(record, found)]


def test_every_kind_is_on_record_with_each_of_its_choices() -> None:
    nodes = plan_nodes(SPEC)
    assert {node.kind for node in nodes} == set(KINDS)
    chosen = {
        "train": ("method", {"trades", "free", "fast"}),
        "visualize": ("mode", {"component", "inversion"}),
        "probe": ("measure", {"usefulness", "cka", "leep", "logme", "knn"}),
        "export_dataset": ("format", {"folder", "npz", "parquet", "webdataset"}),
        "control_dataset": ("arm", {"relabel_only", "noise"}),
        "transfer": ("regime", {"fixed_feature", "full_network"}),
        "embed_stego": ("method", {"lsb_matching", "textured"}),
    }
    for kind, (field, values) in chosen.items():
        assert values <= {node.params.get(field) for node in nodes if node.kind == kind}


def test_a_change_is_owed_where_it_begins(record: Record) -> None:
    now = deepcopy(record)
    for node in ("generator[seed=0]", "antirobust[seed=0]"):
        now["results"][node]["result"]["made_up"] = 1
    found = [(change.node, change.owed) for change in changes(record, now)]
    assert found == [("generator[seed=0]", True), ("antirobust[seed=0]", False)]
    now["results"]["generator[seed=0]"]["key"] = "0" * 64  # as of another recipe
    assert not any(change.owed for change in changes(record, now))


@pytest.mark.parametrize("name", ARITHMETIC)
def test_files_are_compared_where_the_arithmetic_is_the_same(record: Record, name: str) -> None:
    now = deepcopy(record)
    files = now["results"]["features[eps=0,seed=0]"]["files"]
    files["train_x.npy"] = "0" * 64
    (change,) = changes(record, now)
    assert (change.kind, change.difference) == ("features", "train_x.npy: another content")
    now["environment"][name] = "another"
    assert not list(changes(record, now))
    del files["train_x.npy"]
    (change,) = changes(record, now)
    assert change.difference == "train_x.npy: no such file now"


def test_figures_are_compared_where_all_versions_are_the_same(record: Record) -> None:
    now = deepcopy(record)
    now["results"]["report"]["files"]["figure3.png"] = "0" * 64
    assert [change.node for change in changes(record, now)] == ["report"]
    now["environment"]["matplotlib"] = "another"
    assert not list(changes(record, now))
    now["results"]["report"]["files"]["report.json"] = "0" * 64
    assert [change.node for change in changes(record, now)] == ["report"]


CLOSE = [
    (0.5, 0.6),
    (100, 110),
    ({"l2": 0.1}, {"l2": 10.0}),
    ({"correct": {"0.5": "AAAA"}}, {"correct": {"0.5": "AIAA"}}),
    ("by 0.50 [0.1, 0.9]", "by 0.51 [0.1, 0.9]"),
    (f"sha256 {'a' * 64}", f"sha256 {'b' * 64}"),
]
FAR = [
    (0.5, 0.75),
    (100, 130),
    ({"l2": 0.1}, {"l2": None}),
    (True, False),
    (1, True),
    (None, 0.0),
    ("robust", "standard"),
    ("by 0.50 [0.1, 0.9]", "by 0.50 [0.4, 0.9]"),
    ("by 0.50", "by 0.50 [0.1, 0.9]"),
    ([1, 2], [1, 2, 3]),
    ({"a": 1}, {"b": 1}),
    ({"correct": {"0.5": "AAAA"}}, {"correct": {"0.5": "/wAA"}}),
    ({"correct": {"0.5": "AAAA"}}, {"correct": {"0.5": "AAAAAAAA"}}),
]


@pytest.mark.parametrize(("before", "after"), CLOSE)
def test_what_rounding_can_change_is_close_and_not_equal(before: Any, after: Any) -> None:
    assert not list(differences(before, after, exact=False))
    assert list(differences(before, after, exact=True))


@pytest.mark.parametrize(("before", "after"), FAR)
def test_more_than_rounding_can_change_is_a_difference(before: Any, after: Any) -> None:
    assert list(differences(before, after, exact=False))
    assert not list(differences(before, before, exact=True))
