"""Files kept on an S3 service: the API redirects to a signed link, and the token does not travel there."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import yaml

from robxfer_core.client import Client
from robxfer_core.settings import Settings
from robxfer_core.storage import open_store
from tests.service import servers


def test_files_come_by_a_signed_link(tmp_path: Path, serve: Callable[..., Any], small: Callable[..., Any]) -> None:
    big = bytes(range(256)) * 20_000
    with (
        servers.s3(tmp_path / "s3") as s3,
        serve(tmp_path / "data", access="tokens", **s3.settings()) as service,
        Client(service.url, token := service.token()) as client,
    ):
        known = {"Authorization": f"Bearer {token}"}
        client.submit(yaml.safe_dump(small(seeds=(0,))).encode())
        service.publish(service.claim(), {"train/x.npz": big})
        artifact = client.datasets().artifacts.items[0]
        (file,) = client.download(artifact.id, tmp_path / "out")
        assert hashlib.sha256(file.read_bytes()).hexdigest() == artifact.files[0].sha256

        url = f"{service.url}/v1/artifacts/{artifact.id}/files/train/x.npz"
        answer = httpx2.get(url, headers=known)
        assert answer.status_code == 307
        assert answer.headers["location"].startswith(f"http://{s3.endpoint}/")
        assert httpx2.get(answer.headers["location"]).content == big
        assert httpx2.get(url).status_code == 401
        assert httpx2.get(f"{service.url}/readyz", headers=known).status_code == 200
        policy = httpx2.get(f"{service.url}/", headers=known).headers["content-security-policy"]
        assert f"img-src 'self' {s3.endpoint}" in policy


def test_without_a_public_endpoint_files_go_through_the_api(
    tmp_path: Path, serve: Callable[..., Any], small: Callable[..., Any]
) -> None:
    data = bytes(range(256)) * 20_000
    with servers.s3(tmp_path / "s3") as s3:
        own = s3.settings() | {"s3_public_endpoint": ""}
        with serve(tmp_path / "data", **own) as service, service.client() as client:
            client.submit(yaml.safe_dump(small(seeds=(0,))).encode())
            service.publish(service.claim(), {"train/x.npz": data})
            artifact = client.datasets().artifacts.items[0]
            answer = httpx2.get(f"{service.url}/v1/artifacts/{artifact.id}/files/train/x.npz")
            assert (answer.status_code, answer.content) == (200, data)

            given: dict[str, Any] = own | {"s3_secret_key": "wrong"}
            wrong = Settings(**given)
            object.__setattr__(service.server.context, "store", open_store(wrong.store_url, wrong))
            answer = httpx2.get(f"{service.url}/v1/artifacts/{artifact.id}/files/train/x.npz")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["detail"] == "The store cannot be used (SignatureDoesNotMatch); ask again."
