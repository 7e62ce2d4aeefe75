"""Which data sets can be read: found and measured on disk, no image decoded, by the standard library alone."""

import ast
import logging
import os
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from typing_extensions import TypedDict

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}")
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
TEST_FRACTION = 0.25
"""Of a set without a test split of its own, the fraction that becomes one."""

log = logging.getLogger(__name__)


class DatasetInfo(TypedDict):
    """What is known of a data set before it is read."""

    shape: list[int] | None
    """[C, H, W] of its images; None: they differ (a folder, 3 channels), so that a job must say `size`."""
    classes: int
    train: int
    test: int


def _info(shape: list[int] | None, classes: int, train: int, test: int) -> DatasetInfo:
    return {"shape": shape, "classes": classes, "train": train, "test": test}


BUILTIN: dict[str, DatasetInfo] = {"digits": _info([1, 8, 8], 10, 1348, 449)}
"""Sets that need no file."""

TORCHVISION: dict[str, DatasetInfo] = {
    "cifar10": _info([3, 32, 32], 10, 50_000, 10_000),
    "cifar100": _info([3, 32, 32], 100, 50_000, 10_000),
    "mnist": _info([1, 28, 28], 10, 60_000, 10_000),
    "fashion_mnist": _info([1, 28, 28], 10, 60_000, 10_000),
    "flowers102": _info(None, 102, 2_040, 6_149),
    "caltech101": _info(None, 101, 6_508, 2_169),
}
"""Sets that torchvision lays out, and can fetch where a job allows it. flowers102 trains on its train and val."""

MOMENTS: dict[str, tuple[list[float], list[float]]] = {
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
    "cifar100": ([0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]),
    "mnist": ([0.1307], [0.3081]),
    "fashion_mnist": ([0.2860], [0.3530]),
}
"""Mean and standard deviation a channel, over the pixels of the training images in [0,1] (ImageNet: torchvision's)."""

_MARKS = {
    "cifar10": "cifar-10-batches-py/data_batch_1",
    "cifar100": "cifar-100-python/train",
    "mnist": "MNIST/raw/train-images-idx3-ubyte",
    "fashion_mnist": "FashionMNIST/raw/train-images-idx3-ubyte",
    "flowers102": "flowers-102/setid.mat",
    "caltech101": "caltech101/101_ObjectCategories",
}


class BadSource(ValueError):
    """A data set on disk that cannot be read; the message names the file."""


@dataclass(frozen=True)
class Found:
    """Where a set lies."""

    layout: Literal["npz", "folder", "torchvision"]
    path: Path
    """The .npz file, the folder that holds `train`, or the root that torchvision takes."""


def locate(root: Path, name: str) -> Found | None:
    """The set of this name under the root, or None. `NAME.npz` and `NAME/train` come before torchvision's layouts."""
    if not NAME.fullmatch(name):  # so that no name leads out of the root
        return None
    if (root / f"{name}.npz").is_file():
        return Found("npz", root / f"{name}.npz")
    if (root / name / "train").is_dir():
        return Found("folder", root / name)
    if name in _MARKS and (root / _MARKS[name]).exists():
        return Found("torchvision", root)
    return None


def scan(root: Path | None) -> dict[str, DatasetInfo]:
    """The facts of every set that can be read here, by name. One that is broken is logged and left out."""
    sets = dict(BUILTIN)
    if root is None or not root.is_dir():
        return sets
    entries = sorted(entry.name.removesuffix(".npz") for entry in root.iterdir())
    for name in dict.fromkeys([*entries, *TORCHVISION]):
        found = locate(root, name)
        if found is None or name in BUILTIN:
            continue
        try:
            sets[name] = measure(found, name)
        except (BadSource, OSError) as error:
            log.warning("data set %s is left out: %s", name, error)
    return sets


def measure(found: Found, name: str) -> DatasetInfo:
    """The facts of a set on disk. Raises BadSource."""
    if found.layout == "npz":
        return _measure_npz(found.path)
    if found.layout == "folder":
        train, test = (class_files(folder) if folder else None for folder in split_folders(found.path))
        return _measure_files(train or {}, test)
    if name == "caltech101":
        return _measure_files(caltech_files(found.path), None)
    return TORCHVISION[name]


def split_folders(folder: Path) -> tuple[Path, Path | None]:
    """The folders of the train and the test split; `val` serves where there is no `test`."""
    tests = (folder / name for name in ("test", "val"))
    return folder / "train", next((test for test in tests if test.is_dir()), None)


def class_files(folder: Path) -> dict[str, list[Path]]:
    """`folder/CLASS/FILE`: the images of each class, both sorted by name. Raises BadSource where there are none."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    found = {name: _images(folder / name) for name in names}
    if not any(found.values()):
        raise BadSource(f"{folder.name}: no class folders with images")
    return found


def _images(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    return [folder / name for name in names if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES]


def caltech_files(root: Path) -> dict[str, list[Path]]:
    """Caltech-101 as torchvision lays it out; its background folder is no class."""
    files = class_files(root / _MARKS["caltech101"])
    files.pop("BACKGROUND_Google", None)
    return files


def test_count(n: int) -> int:
    """Images of n that become the test split of a set without one."""
    return round(TEST_FRACTION * n)


def _measure_files(train: dict[str, list[Path]], test: dict[str, list[Path]] | None) -> DatasetInfo:
    n = sum(map(len, train.values()))
    if test is None:
        return _info(None, len(train), n - test_count(n), test_count(n))
    return _info(None, len(train), n, sum(map(len, test.values())))


def _measure_npz(path: Path) -> DatasetInfo:
    try:
        with zipfile.ZipFile(path) as archive:
            images = {split: _header(archive, f"x_{split}")[1] for split in ("train", "test")}
            labels = [_largest(archive, f"y_{split}") for split in ("train", "test")]
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError) as error:
        raise BadSource(f"{path.name}: {error}") from error
    except KeyError as error:
        raise BadSource(f"{path.name}: lacks an array; takes x_train, y_train, x_test, y_test") from error
    return _info(image_shape(path.name, images["train"]), 1 + max(labels), images["train"][0], images["test"][0])


def image_shape(file: str, shape: tuple[int, ...]) -> list[int]:
    """[C, H, W] of an array of images [N, H, W] or [N, H, W, C]. Raises BadSource."""
    if len(shape) == 3:
        return [1, *shape[1:]]
    if len(shape) == 4 and shape[3] in (1, 3):
        return [shape[3], *shape[1:3]]
    raise BadSource(f"{file}: images of shape {list(shape)}; takes [N, H, W] or [N, H, W, 1 or 3]")


def _header(archive: zipfile.ZipFile, name: str) -> tuple[str, tuple[int, ...]]:
    with archive.open(f"{name}.npy") as file:
        return npy_header(file, name)[:2]


def npy_header(file: IO[bytes], name: str) -> tuple[str, tuple[int, ...], bool]:
    """Type, shape and whether columns come first, at the head of a .npy file (format 1 to 3 of NumPy's NEP 1).

    Raises BadSource; struct.error where the file is too short.
    """
    magic = file.read(8)
    if magic[:6] != b"\x93NUMPY":
        raise BadSource(f"{name} is not a .npy file")
    form, size = ("<H", 2) if magic[6] == 1 else ("<I", 4)
    length = struct.unpack(form, file.read(size))[0]
    if length > 10_000:
        raise BadSource(f"{name} has a header of {length} bytes")
    try:
        header = ast.literal_eval(file.read(length).decode("latin1"))
        return str(header["descr"]), tuple(map(int, header["shape"])), bool(header["fortran_order"])
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError, OverflowError) as error:
        raise BadSource(f"{name} has no .npy header") from error


def _largest(archive: zipfile.ZipFile, name: str) -> int:
    """The largest label of an integer array [N]."""
    codes = {"|u1": "B", "|i1": "b", "<u2": "H", "<i2": "h", "<u4": "I", "<i4": "i", "<u8": "Q", "<i8": "q"}
    with archive.open(f"{name}.npy") as file:
        descr, shape, _ = npy_header(file, name)
        if descr not in codes or len(shape) != 1 or shape[0] < 1:
            raise BadSource(f"{name} is {descr} {list(shape)}; takes integers [N]")
        data = file.read(shape[0] * int(descr[2:]))
    return max(label for (label,) in struct.iter_unpack(f"<{codes[descr]}", data))
