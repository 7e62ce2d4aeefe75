"""The manifests of Kubernetes: by their schemas, and by what they promise."""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from .deployed import DOCUMENTS, MANIFESTS, ROOT, containers_of, pods_of

KUBERNETES = "1.33"


@pytest.mark.parametrize("document", MANIFESTS)
def test_every_manifest_keeps_to_its_schema(document: dict[str, Any]):
    kubernetes_validate.validate(document, KUBERNETES, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**document, "speck": {}}, KUBERNETES, strict=True)


def test_pods_are_confined_and_hold_no_token_of_the_cluster():
    for document in DOCUMENTS:
        for pod in pods_of(document):
            assert pod["automountServiceAccountToken"] is False
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            for box in containers_of(pod):
                assert box["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                assert {"name": "secrets", "mountPath": "/run/secrets/robxfer", "readOnly": True} in box["volumeMounts"]
                assert {each["name"] for each in box["volumeMounts"]} <= {each["name"] for each in pod["volumes"]}


def test_what_selects_pods_finds_them():
    pods = [document["spec"]["template"]["metadata"]["labels"] for document in DOCUMENTS if list(pods_of(document))]
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
