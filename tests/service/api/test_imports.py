"""What a worker's import job says of an upload: used like what was computed, or refused without a trace."""

import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sqlalchemy import select

from robxfer_core.client import Client
from robxfer_core.ledger.engine import read
from robxfer_core.ledger.tables import artifacts, uploads
from tests.service import servers

from .uploading import CNN, count, kept, npz, weights

Serve = Callable[..., Any]


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
