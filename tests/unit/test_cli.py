"""The command line without a service: what it says, and how it exits, where something is wrong."""

import io
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from robxfer_cli import stack, tables
from robxfer_cli.connection import connect
from robxfer_cli.job_kinds import print_kind
from robxfer_cli.main import app, main
from robxfer_cli.options import ServiceOptions
from robxfer_cli.progress import ProgressDisplay
from robxfer_core import __version__
from robxfer_core.client import Unreachable
from robxfer_core.spec.states import AttemptOutcome, JobState
from robxfer_core.spec.wire.experiments import ExperimentView
from robxfer_core.spec.wire.jobs import EventView, JobView, KindView, ParameterView, ResultFieldView, ResultView
from robxfer_core.spec.wire.queries import ExperimentQuery, ImportModelQuery

NAME = "gap.source[eps=0.5,seed=1]"


def exits(monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["robxfer", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def command_paths(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words that lead to a command and to every command below it."""
    children: dict[str, Any] = getattr(command, "commands", {})
    return [path, *(found for name, child in children.items() for found in command_paths(child, (*path, name)))]


COMMAND_PATHS = command_paths(typer.main.get_command(app))


def test_the_version_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert exits(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"robxfer {__version__}\n"


def test_the_walk_over_commands_reaches_nested_ones() -> None:
    assert {(), ("run",), ("token", "create")} <= set(COMMAND_PATHS)


@pytest.mark.parametrize("path", COMMAND_PATHS, ids=lambda path: " ".join(path) or "robxfer")
def test_every_command_explains_itself_by_h_as_by_help(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, path: tuple[str, ...]
) -> None:
    assert exits(monkeypatch, *path, "--help") == 0
    explanation = capsys.readouterr().out
    assert " ".join([*path, "[OPTIONS]"]) in explanation
    assert exits(monkeypatch, *path, "-h") == 0
    assert capsys.readouterr().out == explanation


def test_a_wrong_setting_is_named_and_no_other_is_told(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("ROBXFER_S3_SECRET_KEY", "hidden")
    monkeypatch.setenv("ROBXFER_SLOTS", "0")
    assert exits(monkeypatch, "worker") == 2
    assert "ROBXFER_SLOTS: got '0'" in capsys.readouterr().err
    monkeypatch.setenv("ROBXFER_SLOTS", "2")
    monkeypatch.setenv("ROBXFER_GPUS", "0")
    assert exits(monkeypatch, "worker") == 2
    told = capsys.readouterr().err
    assert "2 slots of 1 need more GPUs" in told
    assert "hidden" not in told


@pytest.mark.parametrize(
    ("settings", "code", "told"),
    [
        ({}, 2, "run `robxfer migrate`"),
        ({"DATABASE_URL": "nonsense"}, 2, "ROBXFER_DATABASE_URL"),
        ({"DATABASE_URL": "postgresql+psycopg://127.0.0.1:1/x"}, 4, "could not reach the database"),
    ],
)
def test_a_collection_that_cannot_start_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path, settings: dict[str, str], code: int, told: str
) -> None:
    monkeypatch.setenv("ROBXFER_DATA_DIR", str(tmp_path))
    for name, value in settings.items():
        monkeypatch.setenv(f"ROBXFER_{name}", value)
    assert exits(monkeypatch, "gc") == code
    assert told in " ".join(capsys.readouterr().err.split())
    assert exits(monkeypatch, "gc", "--older-than", "-1") == 2


def test_a_port_that_is_taken_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("ROBXFER_DATA_DIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("ROBXFER_PORT", str(taken.getsockname()[1]))
        assert exits(monkeypatch, "api") == 2
    assert "the port is taken" in capsys.readouterr().err


@pytest.mark.parametrize("server", ["http://[::", "nowhere", "http://127.0.0.1:9"])
def test_a_server_that_is_none_exits_4_whatever_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, server: str
) -> None:
    assert exits(monkeypatch, "show", "[/x]", "--server", server) == 4
    assert server in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_known_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("")
    (tmp_path / "spec.yaml").write_text("name: x")
    given = ("--data-dir", str(tmp_path / "data"))
    assert exits(monkeypatch, "run", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "taken"), *given) == 2
    assert "taken: File exists" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_of_two_commands_that_start_a_stack_at_once_one_joins_the_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with stack._lock(tmp_path) as held:
        assert held
        process = stack.started(tmp_path, worker=True)
        with pytest.raises(stack.Held, match="another stack holds"):
            process.__enter__()
        running = iter([None, "http://127.0.0.1:9"])  # none when it looked, one when it came to start its own
        monkeypatch.setattr(stack, "running", lambda folder: next(running))
        with connect(ServiceOptions(data_dir=tmp_path), "worker") as client:
            assert str(client._transport.http.base_url) == "http://127.0.0.1:9"


def test_a_stack_that_ends_with_another_command_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = iter(["http://127.0.0.1:9", None])
    monkeypatch.setattr(stack, "running", lambda folder: next(running))
    with (
        pytest.raises(Unreachable, match="has ended, perhaps with the command that had started it"),
        connect(ServiceOptions(data_dir=tmp_path), "worker") as client,
    ):
        client.list()


def test_names_and_messages_with_brackets_are_told_whole() -> None:
    node = {"name": NAME, "group": "gap.source", "kind": "train", "job_id": "job_1", "key": "k", "state": "running"}
    view = ExperimentView.model_validate(
        {"id": "exp_1", "project": "p", "name": "x", "state": "running", "created_at": 0, "spec": {}, "nodes": [node]}
    )
    out = io.StringIO()
    display = ProgressDisplay(view, Console(file=out, markup=False, width=200))
    error = {"message": "index [/0] is out of range"}
    data = {"state": "failed", "outcome": "failed", "error": error}
    display.update(EventView(id=1, type="log", job_id="job_1", data={"line": r"see \[a]"}))
    display.update(EventView(id=2, type="state", job_id="job_1", data=data))
    assert rf"{NAME}: see \[a]" in out.getvalue()
    assert f"{NAME}: failed: index [/0] is out of range" in out.getvalue()


def test_failures_say_why_and_how_many_more() -> None:
    error = {"class": "Exit", "message": "the process ended", "output": ["last [b] line"]}
    job = JobView(
        id="job_1", key="k", kind="train", recipe=1, params={}, error=error,
        state=JobState.FAILED, outcome=AttemptOutcome.FAILED,
        queue="cpu", deadline_s=1.0, created_at=0.0,
    )  # fmt: skip
    out = io.StringIO()
    tables.print_failures({NAME: job}, 3, Console(file=out, markup=False, width=40))
    assert f"{NAME}: failed: the process ended\n  last [b] line\nand 2 more that failed\n" in out.getvalue()


def test_a_kind_is_printed_with_the_units_of_its_parameters_and_its_result() -> None:
    parameter = ParameterView(name="eps", type="number", unit="pixels", meaning="Radius [l2].", required=True)
    field = ResultFieldView(name="clean", type="number", unit="fraction", meaning="Accuracy.")
    view = KindView(
        kind="evaluate", meaning="Measures.", recipe=1, artifact="result", takes={}, parameters=[parameter],
        json_schema={}, results=[ResultView(name="EvaluateResult", fields=[field], json_schema={})],
    )  # fmt: skip
    out = io.StringIO()
    print_kind(view, Console(file=out, width=100))
    for cells in (("eps", "number", "pixels", "Radius [l2]."), ("clean", "number", "fraction", "Accuracy.")):
        assert any(all(cell in line for cell in cells) for line in out.getvalue().splitlines()), out.getvalue()


def test_values_that_a_model_refuses_are_named_by_their_option(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert exits(monkeypatch, "list", "--limit", "0") == 2
    assert "--limit" in capsys.readouterr().err
    assert exits(monkeypatch, "import-model", "x.pt", "--arch", "cnn", "--mean", "a,b") == 2
    assert "--mean" in capsys.readouterr().err


def test_every_field_of_a_model_is_an_option_with_its_description_and_default() -> None:
    commands = vars(typer.main.get_command(app))["commands"]
    for name, model in (("list", ExperimentQuery), ("import-model", ImportModelQuery)):
        options = {option.name: option for option in commands[name].params}
        for field, info in model.model_fields.items():
            assert options[field].help == info.description
            assert options[field].required == info.is_required()
            assert info.is_required() or options[field].default == info.default
        assert {"server", "token", "data_dir", "as_json"} <= options.keys()
