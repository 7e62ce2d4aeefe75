"""The compose file and those over it: by their schema, and by who reaches whom and what is open."""

import copy
import json
import re
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from . import deployment
from .deployed import COMPOSE, OURS, ROOT, SERVICES

SCHEMA = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
ONCE = ("migrate", "bucket")
STACKS = [
    ("store-elsewhere",),
    ("store-public",),
    ("servers-public",),
    ("worker-host",),
    ("rabbitmq",),
    ("servers-public", "store-public"),
]
ELSEWHERE = {"ROBXFER_SERVERS_ADDRESS": "192.0.2.1"}
OUTSIDE = {"ROBXFER_S3_ENDPOINT": "s3.example.org:443", "ROBXFER_S3_SECURE": "true"}


def test_the_compose_file_keeps_to_its_schema():
    jsonschema.validate(COMPOSE, SCHEMA)
    wrong = copy.deepcopy(COMPOSE)
    wrong["services"]["api"]["imagee"] = "x"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


@pytest.mark.parametrize("files", STACKS, ids="+".join)
def test_files_over_the_compose_file_keep_to_its_schema(files: tuple[str, ...]):
    jsonschema.validate(deployment.compose(*files, **ELSEWHERE), SCHEMA)


def test_every_file_over_the_compose_file_is_tried_and_named_in_the_docs():
    there = {path.stem for path in (ROOT / "deploy/compose").iterdir()}
    assert there == {name for files in STACKS for name in files}
    assert there <= set(re.findall(r"deploy/compose/([a-z-]+)\.yml", (ROOT / "docs/operations.md").read_text()))


@pytest.mark.parametrize("files", [(), *STACKS], ids=lambda files: "+".join(files) or "alone")
def test_whoever_names_a_server_reaches_it(files: tuple[str, ...], tmp_path: Path):
    """A service that is named is on a network of whoever names it; what is elsewhere, or published, needs a way out."""
    variables = {**ELSEWHERE, **(OUTSIDE if {"store-elsewhere", "worker-host"} & set(files) else {})}
    stack = deployment.compose(*files, **variables)
    secrets = _secrets(tmp_path, "192.0.2.1" if "worker-host" in files else "")
    started = {name for name, service in stack["services"].items() if service.get("profiles") != ["unused"]}
    if "worker-host" in files:
        started = {"worker", "worker-cpu"}
    named = 0
    for name in started:
        service = stack["services"][name]
        assert service["networks"]
        out = any(not stack["networks"][network].get("internal") for network in service["networks"])
        assert out or not service.get("ports"), f"{name} is published and has no network but internal ones"
        for host in _hosts(service, secrets):
            named += 1
            if host in stack["services"]:
                assert host in started, f"{name} speaks to {host}, which is not started"
                assert set(service["networks"]) & set(stack["services"][host]["networks"]), (
                    f"{name} cannot reach {host}"
                )
            elif name != "migrate":  # it is told of the store, and asks the database alone
                assert out, f"{name} speaks to {host}, which is elsewhere, and has no way out"
        assert service.get("depends_on", {}).keys() <= started
    assert named >= (6 if "worker-host" in files else 15)


def _secrets(folder: Path, instead: str) -> dict[str, str]:
    subprocess.run(["sh", str(ROOT / "deploy/make-secrets.sh"), str(folder / "secrets")], check=True)
    made = {path.name: path.read_text() for path in (folder / "secrets").iterdir()}
    return {name: re.sub("@[a-z]+:", f"@{instead}:", text) if instead else text for name, text in made.items()}


def _hosts(service: dict[str, Any], secrets: dict[str, str]) -> list[str]:
    """The hosts, by name or address, that a service of ours is told to speak to."""
    told = [
        str(value) for name, value in service.get("environment", {}).items() if name != "ROBXFER_S3_PUBLIC_ENDPOINT"
    ]
    told += [secrets.get(name, "") for name in service["secrets"] if isinstance(name, str)]
    return [host for text in told for host in re.findall(r"(?:^|@)([a-z0-9.-]+):[0-9]+", text)]


@pytest.mark.parametrize("files", [("servers-public",), ("store-public",)])
def test_what_is_opened_is_published_as_it_is_told(files: tuple[str, ...]):
    stack = deployment.compose(*files, **ELSEWHERE)
    ports = {name: service["ports"] for name, service in stack["services"].items() if "ports" in service}
    assert ports.pop("api") == ["127.0.0.1:8000:8000"]
    assert ports == (
        {"store": ["127.0.0.1:8333:8333"]}
        if files == ("store-public",)
        else {
            name: [f"192.0.2.1:{port}:{port}"] for name, port in (("postgres", 5432), ("broker", 6379), ("store", 8333))
        }
    )


def test_no_password_is_in_the_compose_file_and_each_is_read_from_a_file():
    named = {name for service in SERVICES.values() for name in service.get("secrets", [])}
    assert named == COMPOSE["secrets"].keys()
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())
    for service in SERVICES.values():
        given = service.get("environment", {})
        assert not [name for name in given if re.search("password|secret|key|token|database_url|broker_url", name, re.I)
                    and not name.endswith("_FILE")]  # fmt: skip
        assert not re.search(r"://[^/\s]*:[^/\s]*@", json.dumps(service))


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_healthy_kept_and_confined(name: str):
    service = SERVICES[name]
    assert service["restart"] in ("unless-stopped", "on-failure:5")
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[a-z/-]+:[0-9][0-9.]*", service["image"])  # a version, not `latest`
    if name in OURS:
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
    checked = service["healthcheck"].get("test") if "healthcheck" in service else deployment.health_check(service)
    assert bool(checked) is (name not in ONCE)


def test_only_the_api_is_published_and_on_this_host_alone():
    assert {name for name, service in SERVICES.items() if service.get("ports")} == {"api"}
    assert SERVICES["api"]["ports"] == ["127.0.0.1:8000:8000"]
    assert {name for name, service in SERVICES.items() if service["networks"] != ["inside"]} == {"api"}
    assert COMPOSE["networks"]["inside"] == {"internal": True}
