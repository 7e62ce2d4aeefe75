"""Uploaded images and arrays that are not what they say are refused and leave nothing."""

import io
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robxfer_core.science.data.uploads import dataset

from .uploads import SET, SIZED, Bomb, images, npz, npz_deflated, png, refused, run_import, zipped

GOOD = images()


def huge_png() -> bytes:
    """Of a hundred thousand pixels a side, by its header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    header = struct.pack(">LLBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (huge_png(), "pixels|decoder"),
        (png(size=(9000, 9000), mode="L"), "9000 x 9000 pixels"),
        (png(size=(64, 64))[:-40], "no decoder takes"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no decoder takes"),
        (b"<html><script>alert(1)</script>", "no decoder takes"),
        (b"", "no decoder takes"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no decoder takes"),
        (png(mode="F", form="TIFF"), "mode F"),
        (png(mode="I;16"), "mode I;16"),
        (png(form="GIF"), "no decoder takes"),
        (png(size=(9, 8)), "size"),
    ],
)
def test_images_that_are_none_or_too_large(tmp_path: Path, data: bytes, reason: str) -> None:
    refused(tmp_path, "import_dataset", zipped({**GOOD, "train/cat/0.png": data}), SET, reason)


def test_an_image_that_would_be_huge_once_resized(tmp_path: Path) -> None:
    """Its short side becomes `size`, and its long side grows with it."""
    files = {**GOOD, "train/cat/long.png": png(size=(4000, 1))}
    reason = r"train/cat/long\.png: 4000 x 1 pixels, 4096000 x 1024 .* takes at most 64000000"
    refused(tmp_path, "import_dataset", zipped(files), {**SET, "size": 1024}, reason)
    first = {f"train/{name}/0.png": png(size=(1, 500_000)) for name in ("cat", "dog")}
    refused(tmp_path, "import_dataset", zipped(GOOD | first), {**SET, "size": 512}, "at most 64000000")
    assert run_import(tmp_path / "wide", "import_dataset", zipped(GOOD | {"train/cat/0.png": png(size=(64, 8))}), SIZED)


@pytest.mark.parametrize("name", ["<script>", "a b", "../x", "x\n", "", "a" * 65, "x\x00"])
def test_names_of_sets_are_plain(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        run_import(tmp_path, "import_dataset", zipped(GOOD), {"name": name})


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"x_train": np.zeros((6, 8, 8))}, "x_train: got <f8"),
        ({"x_train": np.full((6, 8, 8), np.nan, np.float32)}, "x_train: got <f4"),
        ({"x_train": np.zeros((6, 8, 8), np.int64)}, "takes uint8"),
        ({"x_train": np.zeros((6, 8, 8, 4), np.uint8)}, "takes uint8"),
        ({"x_train": np.zeros((6, 64), np.uint8)}, "takes uint8"),
        ({"x_train": np.zeros((6, 0, 8), np.uint8)}, "pixels"),
        ({"x_train": np.asfortranarray(np.zeros((6, 8, 8), np.uint8))}, "Fortran"),
        ({"x_train": np.array([{"a": 1}] * 6, dtype=object)}, r"x_train: got \|O"),
        ({"y_train": np.array([0, 1, 2, 0, 1])}, "for 6 images"),
        ({"y_train": np.array([0, 1, 2, 0, 1, -1])}, "labels from -1"),
        ({"y_train": np.array([0, 1, 2, 0, 1, 2**62])}, "labels from 0 to 4611686018427387904"),
        ({"y_train": np.array([0, 1, 2, 0, 1, 2**64 - 1], np.uint64)}, "labels from 0 to 18446744073709551615"),
        ({"y_train": np.array([0, 1, 4, 0, 1, 4])}, "no image of the class 2"),
        ({"y_train": np.array([0, 1, 2, 0, 1, np.nan])}, "y_train: got <f8"),
        ({"y_train": np.zeros(6, np.int64), "y_test": np.zeros(3, np.int64)}, "2 classes or more"),
        ({"y_test": np.array([0, 1, 9])}, "the label 9"),
        ({"x_test": np.zeros((0, 8, 8), np.uint8), "y_test": np.zeros(0, np.int64)}, "for 0 images"),
        ({"x_test": None}, "no array x_test"),
        ({"x_train": np.zeros((6, 8, 9), np.uint8)}, "size"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, arrays: dict[str, Any], reason: str) -> None:
    refused(tmp_path, "import_dataset", npz(**arrays), SET, reason)


def test_more_images_than_anybody_has(tmp_path: Path) -> None:
    n = dataset.IMAGES + 1
    many = npz_deflated(x_train=np.zeros((n, 1, 1), np.uint8), y_train=np.arange(n, dtype=np.uint8) % 2)
    assert len(many) < 50_000
    refused(tmp_path, "import_dataset", many, SET, "x_train: got 2000001 images")


def test_arrays_that_lie_about_their_shape_or_hide_a_pickle(tmp_path: Path) -> None:
    def header(text: str, data: bytes = b"") -> bytes:
        head = text.encode()
        return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + data

    def with_first(array: bytes) -> bytes:
        with np.load(io.BytesIO(npz())) as arrays:
            files = {f"{name}.npy": header_of(arrays[name]) for name in arrays}
        return zipped({**files, "x_train.npy": array})

    def header_of(array: np.ndarray) -> bytes:
        out = io.BytesIO()
        np.save(out, array)
        return out.getvalue()

    bomb = pickle.dumps(Bomb(tmp_path / "ran"))
    for array, reason in (
        (header("{'descr': '|u1', 'fortran_order': False, 'shape': (10**9, 99, 99)}"), "no .npy header"),
        (
            header("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 99, 99)}"),
            "bytes that its shape needs",
        ),
        (header("{'descr': '|u1', 'fortran_order': False, 'shape': (-6, 8, -8)}", bytes(384)), "its shape needs"),
        (header("{'descr': '|O', 'fortran_order': False, 'shape': (6,)}", bomb), "takes integers"),
        (header("__import__('os').system('touch ran')"), "no .npy header"),
        (b"\x93NUMPY\2\0" + struct.pack("<I", 1 << 31), "header of"),
        (b"\x93NUM", "not a .npy|broken"),
        (bomb, "not a .npy"),
        (header("-" * 9000 + "1"), "no .npy header"),
    ):
        refused(tmp_path, "import_dataset", with_first(array), SET, reason)
