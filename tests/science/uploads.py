"""Uploads made for tests, and what an import makes of them."""

import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.run import Input, Inputs, LocalRun
from robxfer_core.science import models
from robxfer_core.science.data.uploads.refusal import BadUpload
from robxfer_core.spec.fields import Arch

SHA = "a" * 64
CNN: dict[str, Any] = {"arch": {"name": "cnn", "width": 0.25, "input_size": 8}, "mean": [0.5], "std": [0.25]}
SET = {"name": "mine"}
SIZED = {"name": "mine", "size": 8}


def run_import(tmp_path: Path, kind: str, data: bytes, params: dict[str, Any]) -> LocalRun:
    """Import a file as the worker would: the upload in a folder of its own, the attempt in another."""
    given = tmp_path / "given"
    given.mkdir(parents=True, exist_ok=True)
    (given / "upload").write_bytes(data)
    run = LocalRun(tmp_path / "attempt")
    compute(kind, {"upload": SHA, **params}, Inputs({"upload": [Input(given, SHA)]}), run)
    return run


def refused(tmp_path: Path, kind: str, data: bytes, params: dict[str, Any], match: str) -> None:
    """The import is refused for this reason, and neither the attempt nor what lies around it has any file more."""
    with pytest.raises(BadUpload, match=match) as told:
        run_import(tmp_path, kind, data, params)
    assert all(character.isprintable() for character in str(told.value))
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if not path.is_dir()) == [
        "given/upload"
    ]


def png(shade: int = 100, size: tuple[int, int] = (8, 8), mode: str = "RGB", form: str = "PNG") -> bytes:
    out = io.BytesIO()
    colour: Any = (shade, 0, 255 - shade) if mode == "RGB" else shade
    Image.new(mode, size, colour).save(out, form)
    return out.getvalue()


def images(top: str = "", splits: tuple[str, ...] = ("train", "test"), n: int = 4) -> dict[str, bytes]:
    return {
        f"{top}{split}/{name}/{i}.png": png(40 * i + 10 * (name == "cat"))
        for split in splits
        for name in ("cat", "dog")
        for i in range(n)
    }


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return out.getvalue()


def tarred(files: dict[str, bytes], *more: tuple[str, dict[str, Any]], mode: Any = "w") -> bytes:
    """more: (name, attributes) of members that are no plain files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as made:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
        for name, attributes in more:
            info = tarfile.TarInfo(name)
            for attribute, value in attributes.items():
                setattr(info, attribute, value)
            made.addfile(info)
    return out.getvalue()


def npz(**arrays: Any) -> bytes:
    made: dict[str, Any] = {
        "x_train": np.arange(6 * 64, dtype=np.uint8).reshape(6, 8, 8),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": np.zeros((3, 8, 8), np.uint8),
        "y_test": np.array([0, 1, 2]),
    }
    out = io.BytesIO()
    np.savez(out, **{name: value for name, value in (made | arrays).items() if value is not None})
    return out.getvalue()


def npz_deflated(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    with np.load(io.BytesIO(npz())) as made:
        every: dict[str, Any] = {name: made[name] for name in made} | arrays
    np.savez_compressed(out, **every)
    return out.getvalue()


def network(channels: int = 1, classes: int = 3) -> models.Network:
    return models.build(Arch(name="cnn", width=0.25), classes, channels, 8, [0.5] * channels, [0.25] * channels, 1)


def weights(**changed: Any) -> dict[str, torch.Tensor]:
    state = {name: tensor.contiguous() for name, tensor in network().state_dict().items()}
    return {name: tensor for name, tensor in (state | changed).items() if tensor is not None}


def saved(stored: Any, **how: Any) -> bytes:
    out = io.BytesIO()
    torch.save(stored, out, **how)
    return out.getvalue()


class Bomb:
    """Unpickled, it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)
