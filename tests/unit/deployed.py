"""What deploys the stack, read: the compose file's services and the manifests of Kubernetes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import deployment

ROOT = Path(__file__).parents[2]
OURS = ("migrate", "bucket", "api", "worker", "worker-cpu")
COMPOSE = deployment.compose()
SERVICES: dict[str, Any] = COMPOSE["services"]
MANIFESTS = [
    pytest.param(document, id=f"{path.stem}-{document['kind']}-{document['metadata']['name']}")
    for path in sorted((ROOT / "deploy/kubernetes").rglob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
    if not document["apiVersion"].startswith("keda.sh/")
]
DOCUMENTS: list[dict[str, Any]] = [each.values[0] for each in MANIFESTS]  # type: ignore[misc]


def pods_of(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "template" in document.get("spec", {}):
        yield document["spec"]["template"]["spec"]


def containers_of(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return pod["containers"] + pod.get("initContainers", [])
