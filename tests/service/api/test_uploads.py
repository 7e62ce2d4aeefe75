"""Uploads: kept whole or not at all, read by an import job alone, and refused by it without a trace."""

import hashlib
import io
import json
import os
import socket
import struct
import tarfile
import zipfile
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import pytest
import torch
import yaml
from anyio import CapacityLimiter
from PIL import Image
from safetensors.torch import save
from sqlalchemy import func, select

from robxfer_api import receive
from robxfer_api.context import UPLOADS
from robxfer_core.client import ApiError, Client, UploadError
from robxfer_core.ledger.engine import read, write
from robxfer_core.ledger.tables import artifacts, experiments, jobs, projects, uploads
from robxfer_core.science import models
from robxfer_core.spec.fields import Arch
from tests.service import servers

Serve = Callable[..., Any]
RAW = {"Content-Type": "application/octet-stream"}
CNN = {"arch": "cnn", "width": 0.25, "input_size": 8, "mean": [0.5], "std": [0.25]}


def npz(**changed: Any) -> bytes:
    made: dict[str, Any] = {
        "x_train": np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8),
        "y_train": np.arange(40) % 3,
        "x_test": np.zeros((6, 8, 8), np.uint8),
        "y_test": np.arange(6) % 3,
    }
    out = io.BytesIO()
    np.savez(out, **(made | changed))
    return out.getvalue()


def weights() -> bytes:
    network = models.build(Arch(name="cnn", width=0.25), 3, 1, 8, [0.5], [0.25], 0)
    return save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})


def kept(service: Any) -> list[str]:
    """Every file of the store."""
    root = service.scratch / "store"
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def count(service: Any, table: Any) -> int:
    with read(service.engine) as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def nothing_is_left(service: Any) -> bool:
    return kept(service) == [] and count(service, uploads) == count(service, experiments) == count(service, jobs) == 0


def post(service: Any, path: str, content: Any, **headers: str) -> httpx2.Response:
    return httpx2.post(f"{service.url}{path}", content=content, headers=RAW | headers, timeout=30)


# What is kept.


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


# What is refused at the door.


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


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_beyond_the_limit(tmp_path: Path, serve: Serve, declared: bool) -> None:
    (tmp_path / "big").write_bytes(bytes(3 << 20))
    with serve(tmp_path / "data", max_upload_gb=0.001) as service:
        body = (bytes(1 << 10) for _ in range(1 << 12))
        if declared:
            with service.client() as client, pytest.raises(ApiError) as refused:
                client.import_dataset(tmp_path / "big", "x")
            assert (refused.value.problem.status, "1000000 bytes" in refused.value.problem.detail) == (413, True)
        else:
            assert post(service, "/v1/datasets?name=x", body).status_code == 413
        assert nothing_is_left(service)
        assert post(service, "/v1/datasets?name=x", bytes(1_000_000)).status_code == 202


def begin(service: Any, **headers: str) -> socket.socket:
    """An upload of which a part has come."""
    at = urlsplit(service.url)
    sender = socket.create_connection((at.hostname or "", at.port or 0))
    sender.sendall(b"POST /v1/datasets?name=x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/zip\r\n")
    sender.sendall("".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode())
    sender.sendall(b"Content-Length: 9000000\r\n\r\n" + bytes(3 << 20))
    return sender


def test_a_sender_that_breaks_off_or_falls_silent_leaves_nothing(
    service: Any, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    with begin(service):
        until(lambda: any(name.endswith(".part") for name in kept(service)))
    until(lambda: nothing_is_left(service))

    monkeypatch.setattr(receive, "SILENT_S", 0.3)
    with begin(service) as sender:
        assert sender.recv(1000).startswith(b"HTTP/1.1 408")
    until(lambda: nothing_is_left(service))


def test_a_sender_that_is_too_slow_leaves_nothing(
    service: Any, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    monkeypatch.setattr(receive, "SLOW_S", 0.0)
    with begin(service):  # a minute has passed, and it was fast enough
        until(lambda: any(name.endswith(".part") for name in kept(service)))
    until(lambda: nothing_is_left(service))

    monkeypatch.setattr(receive, "LEAST", 1e15)
    with begin(service) as sender:
        answer = b""
        while b"}" not in answer and (piece := sender.recv(10_000)):  # head and body may come one after the other
            answer += piece
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"a second" in answer
    until(lambda: nothing_is_left(service))


def test_one_caller_does_not_take_all_the_room_for_uploads(
    tmp_path: Path, serve: Serve, until: Callable[..., None]
) -> None:
    with serve(tmp_path / "data", access="tokens") as service, ExitStack() as stack:
        greedy, other = (f"Bearer {service.token()}" for _ in range(2))
        for n in range(UPLOADS):
            stack.enter_context(begin(service, Authorization=greedy))
            until(lambda n=n: len([name for name in kept(service) if name.endswith(".part")]) == n + 1)
        answer = post(service, "/v1/datasets?name=x", b"data", Authorization=greedy)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
        assert answer.headers["content-type"] == "application/problem+json"
        assert post(service, "/v1/datasets?name=x", b"data", Authorization=other).status_code == 202
        stack.close()
        until(lambda: post(service, "/v1/datasets?name=x", b"data", Authorization=greedy).status_code == 202)


def test_more_at_once_than_there_is_room_for_are_told_to_come_again(
    service: Any, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    object.__setattr__(service.server.context, "uploading", CapacityLimiter(1))
    with begin(service):
        until(lambda: any(name.endswith(".part") for name in kept(service)))
        answer = post(service, "/v1/datasets?name=x", b"data")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert httpx2.get(f"{service.url}/v1/experiments").status_code == 200
    until(lambda: post(service, "/v1/datasets?name=x", b"data").status_code == 202)


def test_a_store_that_does_not_take_it(service: Any) -> None:
    (service.scratch / "store/default").write_text("no folder")
    answer = post(service, "/v1/datasets?name=x", b"data")
    told = "The upload could not be stored; send it again."
    assert (answer.status_code, answer.json()["detail"]) == (503, told)
    assert count(service, uploads) == count(service, experiments) == 0


def test_an_upload_of_which_the_ledger_does_not_say_whether_it_is_kept(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row is never without its bytes: whoever sends them again finds both."""
    finish = receive.uploads.finish

    def unheard(*given: Any) -> None:
        finish(*given)
        raise ConnectionError

    with monkeypatch.context() as broken:
        broken.setattr(receive.uploads, "finish", unheard)
        assert post(service, "/v1/datasets?name=x", b"data").status_code == 503
    assert post(service, "/v1/datasets?name=x", b"data").status_code == 202
    assert count(service, uploads) == 1
    (given,) = service.claim().inputs
    assert b"".join(service.store.stream(f"{given.prefix}/upload")) == b"data"


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


# What the import job says.


@pytest.fixture(scope="module")
def worked(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A service with a real worker."""
    folder = tmp_path_factory.mktemp("worked")
    with serve(folder / "data", slots=2, sweep_s=0.3) as service, servers.worker(service.settings, folder):
        yield service


def ended(client: Client, id: str) -> Any:
    return servers.until(lambda: (view := client.get(id)).state != "running" and view)


def test_what_is_imported_is_used_like_what_was_computed(worked: Any, tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_bytes(npz())
    (tmp_path / "cnn.safetensors").write_bytes(weights())
    with worked.client() as client:
        data = client.import_dataset(tmp_path / "set.npz", "mine")
        model = client.import_model(tmp_path / "cnn.safetensors", norm="l2", eps=0.5, **CNN)
        assert (ended(client, data.id).state, ended(client, model.id).state) == ("done", "done")
        spec = {
            "name": "use",
            "jobs": {
                "set": {"kind": "import_dataset", "name": "mine", "upload": data.upload},
                "model": client.job(model.nodes[0].job_id).params | {"kind": "import_model"},
                "accuracy": {"kind": "evaluate", "model": "model", "dataset": "set", "eps": [0.0]},
                "tuned": {
                    "kind": "train",
                    "dataset": "set",
                    "init": "model",
                    "epochs": 1,
                    "arch": {"name": "cnn", "width": 0.25},
                },
                "features": {"kind": "features", "model": "tuned", "dataset": "set"},
            },
        }
        plan = client.plan(json.dumps(spec).encode(), "json")
        assert {node.name: node.state for node in plan.nodes if node.kind.startswith("import")} == {
            "set": "done",
            "model": "done",
        }
        assert ended(client, client.submit(json.dumps(spec).encode(), "json").id).state == "done"


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def pickled(path: Path) -> bytes:
    out = io.BytesIO()
    torch.save({"state_dict": {"head.weight": torch.zeros(3, 16)}, "extra": Bomb(path)}, out)
    return out.getvalue()


def zipped(*names: str) -> bytes:
    out, image = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "PNG")
    with zipfile.ZipFile(out, "w") as made:
        for name in ("train/cat/0.png", "train/dog/0.png", *names):
            made.writestr(name, image.getvalue() if name.endswith(".png") else b"<svg onload='alert(1)'/>")
    return out.getvalue()


def tarred(**attributes: Any) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        info = tarfile.TarInfo("train/cat/0.png")
        for attribute, value in attributes.items():
            setattr(info, attribute, value)
        made.addfile(info)
    return out.getvalue()


def bombed() -> bytes:
    """A thousand bytes for each of its own."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("train/cat/0.bmp", bytes(80 << 20))
    return out.getvalue()


def million() -> bytes:
    """A zip's directory of a million entries, whose end says seven."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0)
    directory = b"".join(entry + b"%08d" % i for i in range(1_000_000))
    return b"PK\3\4" + directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 7, 7, len(directory), 4, 0)


def pictured(image: bytes) -> bytes:
    """A set whose first image is this one."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name in ("train/cat/0.png", "train/dog/0.png", "test/cat/0.png", "test/dog/0.png"):
            made.writestr(name, image)
    return out.getvalue()


def png(width: int, height: int, declared: tuple[int, int] | None = None) -> bytes:
    """declared: the width and height that its header says instead."""
    out = io.BytesIO()
    Image.new("L", (width, height)).save(out, "PNG")
    data = bytearray(out.getvalue())
    data[16:24] = struct.pack(">LL", *(declared or (width, height)))
    data[29:33] = struct.pack(">L", zlib.crc32(data[12:29]))
    return bytes(data)


HOSTILE: dict[str, tuple[str, Callable[[Path], bytes], str]] = {
    "pickle": ("model", pickled, "weights_only refuses"),
    "zip slip": ("dataset", lambda _: zipped("../../../escaped.png"), "leads out of the archive"),
    "absolute": ("dataset", lambda _: zipped("/tmp/escaped.png"), "leads out of the archive"),
    "link": ("dataset", lambda _: tarred(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "symbolic link"),
    "device": ("dataset", lambda _: tarred(type=tarfile.CHRTYPE, devmajor=1, devminor=5), "a device"),
    "compression": ("dataset", lambda _: bombed(), "times the archive's size"),
    "million": ("dataset", lambda _: million(), "more than 500000 entries"),
    "huge": ("dataset", lambda _: pictured(png(8, 8, (9000, 9000))), "9000 x 9000 pixels"),
    "broken": ("dataset", lambda _: pictured(png(8, 8)[:-30]), "no decoder takes"),
    "label": ("dataset", lambda _: npz(y_test=np.array([0, 1, 2, 0, 1, 9])), "the label 9"),
    "svg": ("dataset", lambda _: zipped("train/cat/x.svg"), "no image by its name"),
    "script": ("dataset", lambda _: zipped("train/<script>/x.png"), "the name of a class"),
    "bomb": ("dataset", lambda _: npz(x_train=np.array([Bomb(Path("/"))] * 40, dtype=object)), "integers"),
    "nan": ("dataset", lambda _: npz(x_train=np.full((40, 8, 8), np.nan)), "integers"),
    "weights": ("model", lambda _: weights()[:-100], "broken"),
    "html": ("model", lambda _: b"<html>", "PyTorch"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_hostile_is_refused_and_leaves_nothing(worked: Any, tmp_path: Path, what: str) -> None:
    kind, make, reason = HOSTILE[what]
    (tmp_path / "upload").write_bytes(make(tmp_path / "ran"))
    before, kinds_before = set(kept(worked)), count(worked, artifacts)
    with worked.client() as client:
        sent = client.import_model if kind == "model" else client.import_dataset
        given: dict[str, Any] = CNN if kind == "model" else {"name": "hostile"}
        made = sent(tmp_path / "upload", **given)
        assert ended(client, made.id).state == "failed"
        job = client.job(made.nodes[0].job_id)
        assert (job.outcome, len(job.attempts), (job.error or {})["class"]) == ("failed", 1, "BadUpload")
        assert reason in (job.error or {})["message"]
        assert not (tmp_path / "ran").exists()
        assert not Path("/tmp/escaped.png").exists()
        servers.until(lambda: set(kept(worked)) == before)
        servers.until(lambda: not list((worked.scratch / "work/0").iterdir()))
        assert count(worked, artifacts) == kinds_before
        with read(worked.engine) as connection:
            assert connection.execute(select(uploads).where(uploads.c.sha256 == made.upload)).first() is None
        if what == "html":  # asked for again, it has to be sent again
            client.retry(made.id)
            ended(client, made.id)
            assert "upload it again" in (client.job(made.nodes[0].job_id).error or {})["message"]


# What is fetched.


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
