"""YAML 1.2's core schema: what a plain scalar is, and what is refused."""

import re
from typing import Any

import pytest

from robxfer_core.planning.experiment import read_spec
from robxfer_core.planning.plan import make_plan
from robxfer_core.spec import yaml
from robxfer_core.spec.errors import SpecError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, text) for text in ("yes", "No", "on", "OFF", "y", "1_000", "0x_1", "0b11", "1:30", "12:30:00", "=")),
        *((text, text) for text in ("2026-11-28", "2001-12-14t21:59:43.10-05:00", "685_230.15", "-0x1F", "1e", ".")),
        *((text, int(text)) for text in ("0", "-0", "+12", "10")),
        ("0o17", 15),
        ("0x1F", 31),
        *((text, float(text)) for text in ("5e-4", "1E3", ".5", "+.5", ".5e1", "1.", "1.e2", "-2.50", "08.5", "0e0")),
        ("-.INF", float("-inf")),
        *((text, True) for text in ("true", "True", "TRUE")),
        *((text, None) for text in ("null", "~", "")),
        ("!!str 010", "010"),
        ("'010'", "010"),
        ("!!float 5", 5.0),
    ],
)
def test_plain_scalars_are_those_of_the_core_schema(text: str, value: Any) -> None:
    read = yaml.load(f"a: {text}".encode())["a"]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize("text", ["010", "007", "-08", "+00", "!!int 010"])
def test_leading_zeros_are_refused_for_their_value_depends_on_the_reader(text: str) -> None:
    with pytest.raises(SpecError, match=r"jobs.source.seed: got .*, a number with leading zeros.*line 2"):
        yaml.load(f"jobs:\n  source: {{seed: {text}}}\n".encode())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: !!timestamp 2026-11-28", "tag.*timestamp"),
        ("a: !!set {b}", "tag.*set"),
        ("a: !!binary YQ==", "tag.*binary"),
        ("a: !mine b", "tag"),
        ("a: !!int 1_0", "no int"),
        ("a: !!bool yes", "no bool"),
        ("%YAML 1.1\n---\na: 1", "%YAML 1.1"),
        ("%YAML 1.3\n---\na: 1", "YAML 1.2"),
        ("a: 1\n---\nb: 1", "another document"),
        ("? [a]\n: b", "a key that is no text"),
        ("? [[a]]\n: b", "a key that is no text"),
        ("<<: {a: 1}\n<<: {b: 1}", "line 2"),
        ("[" + "1, " * yaml.MAX_VALUES + "1]", f"more than {yaml.MAX_VALUES} values"),
        ("- " * (yaml.MAX_DEPTH + 2) + "a", f"at most {yaml.MAX_DEPTH} levels"),
    ],
)
def test_what_the_core_schema_lacks_is_refused(text: str, reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        yaml.load(text.encode())


def test_merge_keys_are_followed_and_anchors_may_be_set_anew(recwarn: pytest.WarningsRecorder) -> None:
    text = b"a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\nc: &x {r: 4}\nd: {<<: [*x, {r: 5, s: 6}]}\n'<<': t"
    assert yaml.load(text) == {
        "a": {"p": 1, "q": 2},
        "b": {"p": 1, "q": 3},
        "c": {"r": 4},
        "d": {"r": 4, "s": 6},
        "<<": "t",
    }
    assert not recwarn.list


SPEC = """name: probe
jobs:
  digits: {kind: dataset, name: digits, size: 8}
  source: {kind: train, dataset: digits, arch: {name: cnn}, epochs: 1, matrix: {threat.eps: [0, .5]}}
  tuned: {kind: train, dataset: digits, arch: {name: cnn}, init: "source[eps=PIN]"}
"""


@pytest.mark.parametrize("pin", ["0.5", ".5", "5e-1", "0.50"])
def test_the_pin_of_a_reference_is_read_like_the_axis_it_names(pin: str) -> None:
    assert make_plan(read_spec(SPEC.replace("PIN", pin).encode())).nodes[-1].inputs[-1].node == "source[eps=0.5]"


def test_a_pin_with_leading_zeros_names_no_value() -> None:
    with pytest.raises(SpecError, match=re.escape('"source[eps=00]"')):
        make_plan(read_spec(SPEC.replace("PIN", "00").encode()))


def test_labels_take_what_yaml_1_1_took_for_numbers_and_dates() -> None:
    spec = read_spec(
        b"name: x\nlabels: {date: 2026-11-28, t: 12:30:00, on: no}\njobs: {a: {kind: dataset, name: digits}}"
    )
    assert spec.labels == {"date": "2026-11-28", "t": "12:30:00", "on": "no"}


@pytest.mark.parametrize("media", ["yaml", "json"])
def test_the_place_of_a_problem_can_be_sent_whatever_the_keys_are(media: Any) -> None:
    with pytest.raises(SpecError) as caught:
        read_spec(rb'{"name": "x", "jobs": {"\ud800": {"kind": "\u0000"}}}', media)
    assert str(caught.value).encode()
