"""Artifacts and their files: served safely, fetched whole or not at all, pinned."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from robxfer_core.client import ApiError, DownloadError
from robxfer_core.client.download import download_files, inside

from .uploading import kept

Spec = Callable[..., dict[str, Any]]


def test_files_are_served_safely(service: Any, small: Spec) -> None:
    service.submit(small(seeds=(0,)))
    claim = service.claim()
    big = bytes(range(256)) * 10_000
    service.publish(claim, {"train/x.npz": big, "note.html": b"<script>alert(1)</script>", "picture.svg": b"<svg/>"})
    with service.client() as client:
        artifact = client.datasets().artifacts.items[0]
    files = f"{service.url}/v1/artifacts/{artifact.id}/files"
    with httpx2.stream("GET", f"{files}/train/x.npz") as answer:
        assert answer.status_code == 200
        assert max(map(len, answer.iter_raw())) <= 1 << 20
        sha = next(file.sha256 for file in artifact.files if file.path == "train/x.npz")
        assert answer.headers["content-length"] == str(len(big))
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["etag"] == f'"{sha}"'
        assert answer.headers["content-disposition"].startswith("attachment")
    kept = httpx2.get(f"{files}/train/x.npz", headers={"If-None-Match": f'"{sha}"'})
    assert kept.status_code == 304
    for name in ("note.html", "picture.svg"):
        shown = httpx2.get(f"{files}/{name}")
        assert "sandbox" in shown.headers["content-security-policy"]
        assert "allow-scripts" not in shown.headers["content-security-policy"]
        assert shown.headers["x-content-type-options"] == "nosniff"
    for path in ("x.npz", "train", "train%2f..%2ftrain%2fx.npz", "..%2f..%2fledger.sqlite", "%2fetc%2fpasswd", ""):
        assert httpx2.get(f"{files}/{path}").status_code == 404


def test_the_client_takes_no_file_that_differs_and_none_outside(service: Any, small: Spec, tmp_path: Path) -> None:
    service.submit(small(seeds=(0,)))
    claim = service.claim()
    service.publish(claim, {"a.bin": b"good"})
    with service.client() as client:
        artifact = client.datasets().artifacts.items[0]
        other = [file.model_copy(update={"sha256": "0" * 64}) for file in artifact.files]
        with pytest.raises(DownloadError, match=r"a[.]bin"), httpx2.Client(base_url=service.url) as http:
            download_files(http, artifact.model_copy(update={"files": other}), tmp_path / "out", lambda *_: None)
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    for path in ("../a", "/etc/a", "a/../../b", "link/a", "", ".", "a/./../..", "c:\\a"):
        with pytest.raises(DownloadError):
            inside(tmp_path / "out", path)
    assert inside(tmp_path / "out", "a/b.c") == tmp_path / "out" / "a" / "b.c"


@pytest.mark.parametrize("size", [1000, 3 << 20])
@pytest.mark.parametrize("damage", ["flip", "cut", "grow"])
def test_a_damaged_file_never_comes_whole(
    service: Any, small: Callable[..., Any], caplog: pytest.LogCaptureFixture, tmp_path: Path, size: int, damage: str
) -> None:
    service.submit(small(seeds=(0,)))
    data = os.urandom(size)
    service.publish(service.claim(), {"x.npz": data})
    with service.client() as client:
        artifact = client.datasets().artifacts.items[0]
        url = f"{service.url}/v1/artifacts/{artifact.id}/files/x.npz"
        assert httpx2.get(url).content == data
        (name,) = kept(service)
        changed = {"flip": data[:-1] + bytes([data[-1] ^ 1]), "cut": data[:-1], "grow": data + b"x"}
        (service.scratch / "store" / name).write_bytes(changed[damage])
        if size < 1 << 20:
            answer = httpx2.get(url)
            assert (answer.status_code, answer.json()["type"]) == (500, "urn:robxfer:problem:damaged-file")
            assert "x.npz" in answer.json()["detail"]
            told = httpx2.get(f"{service.url}/openapi.json").json()["paths"]["/v1/artifacts/{id}/files/{path}"]["get"]
            assert list(told["responses"]["500"]["content"]) == [answer.headers["content-type"]]
        else:
            with pytest.raises(httpx2.RemoteProtocolError), httpx2.stream("GET", url) as answer:
                for _ in answer.iter_bytes():
                    pass
        with pytest.raises(Exception, match=r"x\.npz|damaged|closed"):
            client.download(artifact.id, tmp_path / "out")
        assert not list((tmp_path / "out").iterdir())
    assert any(name in record.getMessage() for record in caplog.records)


def test_an_artifact_is_pinned_and_unpinned(service: Any, small: Spec) -> None:
    with service.client() as client:
        client.submit(yaml.safe_dump(small(seeds=(0,))).encode())
        service.publish(service.claim())
        (artifact,) = client.datasets().artifacts.items
        assert artifact.pinned_at is None
        since = client.pin(artifact.id).pinned_at
        assert since is not None
        assert since >= artifact.created_at
        assert client.pin(artifact.id).pinned_at == client.artifact(artifact.id).pinned_at == since
        assert client.unpin(artifact.id).pinned_at is client.unpin(artifact.id).pinned_at is None
        for act in (client.pin, client.unpin):
            with pytest.raises(ApiError) as refused:
                act("art_00000000000000000000000000")
            assert refused.value.problem.status == 404
