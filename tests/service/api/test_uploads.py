"""Uploads: kept as they came and once, or refused at the door without a trace."""

import hashlib
import os
import tarfile
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import select

from robxfer_core.client import ApiError, UploadError
from robxfer_core.ledger.engine import read, write
from robxfer_core.ledger.tables import experiments, jobs, projects, uploads

from .uploading import count, kept, nothing_is_left, npz, post


def test_an_upload_is_kept_as_it_came_and_named_by_its_sha256(service_on_both: Any, tmp_path: Path) -> None:
    service, data = service_on_both, npz()
    (tmp_path / "set.npz").write_bytes(data)
    told: list[tuple[int, int]] = []
    with service.client() as client:
        made = client.import_dataset(tmp_path / "set.npz", "mine", lambda *at: told.append(at), size=8, seed=3)
        assert made.upload == hashlib.sha256(data).hexdigest()
        assert told[-1] == (len(data), len(data))
        assert (made.name, made.state, [node.kind for node in made.nodes]) == (
            "import mine",
            "running",
            ["import_dataset"],
        )
        job = client.job(made.nodes[0].job_id)
        assert (job.params["upload"], job.params["size"], job.params["seed"]) == (made.upload, 8, 3)
        assert job.retries["failed"] == 0
    with read(service.engine) as connection:
        row = connection.execute(select(uploads)).one()
    assert (row.sha256, row.bytes) == (made.upload, len(data))
    assert kept(service) == [f"default/uploads/{row.id}/upload"]
    assert b"".join(service.store.stream(kept(service)[0])) == data

    with service.client() as client:  # the same again is stored once, and is the same job
        again = client.import_dataset(tmp_path / "set.npz", "mine", size=8, seed=3)
        other = client.import_dataset(tmp_path / "set.npz", "other")
    assert again.id != made.id
    assert again.nodes[0].job_id == made.nodes[0].job_id != other.nodes[0].job_id
    assert kept(service) == [f"default/uploads/{row.id}/upload"]

    claim = service.claim()
    (given,) = claim.inputs
    assert (given.field, given.prefix) == ("upload", f"default/uploads/{row.id}")
    assert given.manifest["files"] == [{"path": "upload", "size": len(data), "sha256": made.upload}]


def test_a_folder_is_packed_while_it_is_sent_and_is_the_same_each_time(service: Any, tmp_path: Path) -> None:
    for name in ("train/cat/a.png", "train/dog/b.png", "test/cat/c.png", ".git/x"):
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).write_bytes(os.urandom(700))
    with service.client() as client:
        first = client.import_dataset(tmp_path / "pets", "pets")
        (tmp_path / "pets/train/cat/a.png").touch()
        assert client.import_dataset(tmp_path / "pets", "pets").upload == first.upload
    (name,) = kept(service)
    with tarfile.open(service.scratch / "store" / name) as packed:
        assert packed.getnames() == ["test/cat/c.png", "train/cat/a.png", "train/dog/b.png"]
        member = packed.extractfile("train/cat/a.png")
        assert member is not None
        assert member.read() == (tmp_path / "pets/train/cat/a.png").read_bytes()
    (tmp_path / "pets/train/cat/link.png").symlink_to("/etc/passwd")
    with service.client() as client, pytest.raises(UploadError, match="is a link"):
        client.import_dataset(tmp_path / "pets", "pets")


def test_two_at_once_are_stored_once(service: Any, together: Callable[..., list[Any]]) -> None:
    data = os.urandom(1 << 20)

    def send() -> int:
        return post(service, "/v1/datasets?name=x", data).status_code

    assert together(*[send] * 4) == [202] * 4
    assert len(kept(service)) == count(service, uploads) == count(service, jobs) == 1


@pytest.mark.parametrize(
    ("path", "headers", "status", "told"),
    [
        (
            "datasets?name=x",
            {"Content-Digest": f"sha-256=:{b64encode(bytes(32)).decode()}:"},
            422,
            "header.Content-Digest",
        ),
        ("datasets?name=x", {"Content-Digest": "sha-256=:abc:"}, 422, "header.Content-Digest"),
        ("datasets?name=x", {"Content-Digest": "sha-256=nonsense"}, 422, "header.Content-Digest"),
        ("datasets?name=x", {"Content-Type": "multipart/form-data"}, 415, "Content-Type"),
        ("datasets?name=x", {"Content-Encoding": "gzip"}, 415, "Content-Encoding"),
        ("datasets", {}, 422, "query.name"),
        ("datasets?name=%3Cscript%3E", {}, 422, "query.name"),
        ("datasets?name=a%0Ab", {}, 422, "query.name"),
        ("datasets?name=..%2Fx", {}, 422, "query.name"),
        ("datasets?name=x&size=2", {}, 422, "query.size"),
        (f"datasets?name=x&max_train={2**53}", {}, 422, "query.max_train"),
        ("datasets?name=x&queue=<b>", {}, 422, "query.queue"),
        ("models?arch=cnn&queue=gpu2", {}, 422, "query.queue"),
        ("models?arch=vgg", {}, 422, "query.arch"),
        ("models?arch=cnn&mean=0.5&std=0.5", {}, 422, "input_size"),
        ("models?arch=resnet18&mean=0.5", {}, 422, "jobs.import"),
        ("models?arch=resnet18&mean=a&std=b", {}, 422, "query.mean"),
        ("models?arch=resnet18&mean=nan&std=1", {}, 422, "mean"),
        ("models?arch=resnet18&mean=0.5&std=0", {}, 422, "std"),
        ("models?arch=resnet18&eps=-1", {}, 422, "query.eps"),
        ("models?arch=resnet18&width=inf", {}, 422, "width"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_kept(
    service: Any, path: str, headers: dict[str, str], status: int, told: str
) -> None:
    answer = post(service, f"/v1/{path}", b"some bytes", **headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert told in answer.text
    assert "<script>" not in answer.text or answer.headers["content-type"] == "application/problem+json"
    assert nothing_is_left(service)


def test_an_empty_body_and_other_digests(service: Any) -> None:
    assert post(service, "/v1/datasets?name=x", b"").status_code == 422
    assert nothing_is_left(service)
    right = b64encode(hashlib.sha256(b"data").digest()).decode()
    for digest in (f"sha-256=:{right}:", f"sha-512=:x:, sha-256=:{right}:", "md5=:x:"):
        assert post(service, "/v1/datasets?name=x", b"data", **{"Content-Digest": digest}).status_code == 202


def test_a_spec_that_names_an_upload_which_is_not_there(service_on_both: Any) -> None:
    service = service_on_both
    with write(service.engine) as connection:
        connection.execute(projects.insert().values(id="other", name="other"))
        connection.execute(
            uploads.insert().values(id="upl_1", project_id="other", sha256="b" * 64, bytes=1, created_at=1.0)
        )
    for sha256 in ("a" * 64, "b" * 64):  # of nobody, of another project
        spec = {"name": "x", "jobs": {"set": {"kind": "import_dataset", "name": "x", "upload": sha256}}}
        with service.client() as client:
            for ask in (client.plan, client.submit):
                with pytest.raises(ApiError) as refused:
                    ask(yaml.safe_dump(spec).encode())
                assert refused.value.problem.status == 422
                assert refused.value.problem.errors[0].at == "jobs.set.upload"
                assert sha256 in refused.value.problem.errors[0].got
    assert count(service, experiments) == count(service, jobs) == 0
