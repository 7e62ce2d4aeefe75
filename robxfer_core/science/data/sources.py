"""Where images come from: built in, .npz, folders of files, torchvision's layouts."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from robxfer_core.science.support.seeds import derive
from robxfer_core.spec import datasets
from robxfer_core.spec.datasets import BadSource

from .subset import stratified_split

MAX_PIXELS = 64_000_000
"""Of one image, as it comes and as it is resized: more is taken for a bomb."""


@dataclass(frozen=True)
class SourceSplit:
    """Images of one split, read one by one when asked for."""

    labels: np.ndarray
    """[n] int64."""
    image: Callable[[int], Image.Image]
    """The i-th image, grey (`L`) or `RGB`."""
    name: Callable[[int], str] = "image {}".format
    """What the i-th image is called where something is wrong with it."""


@dataclass(frozen=True)
class Source:
    classes: list[str]
    train: SourceSplit
    test: SourceSplit
    lossless: bool | None = None
    """Whether its images were never decoded from a lossy format (JPEG); None: nobody knows."""


def open_source(name: str, root: Path | None, seed: int, download: bool) -> Source:
    """The data set of this name. `seed` draws the test split of a set that has none. Raises BadSource."""
    if name == "digits":
        return _digits(seed)
    if root is None:
        raise BadSource(f"{name}: not built in ({', '.join(datasets.BUILTIN)}), and ROBXFER_DATA_ROOT is not set")
    found = datasets.locate(root, name)
    if found is None and download and name in datasets.TORCHVISION:
        found = datasets.Found("torchvision", root)
    if found is None:
        raise BadSource(f"{name}: not under ROBXFER_DATA_ROOT; takes {', '.join(datasets.scan(root))}")
    if found.layout == "npz":
        source = _npz(found.path)
        # Sets that are published as arrays are the same arrays in an .npz of their name.
        return replace(source, lossless=True if datasets.TORCHVISION.get(name, {}).get("shape") else None)
    if found.layout == "folder":
        return _folder(found.path, seed)
    return _torchvision(name, root, seed, download)


def _digits(seed: int) -> Source:
    from sklearn.datasets import load_digits  # slow to import, and needed here alone

    x, y = load_digits(return_X_y=True)
    pixels = np.rint(x.reshape(-1, 8, 8) / 16 * 255).astype(np.uint8)  # its values are 0..16
    return replace(split_source([str(digit) for digit in range(10)], _arrays(pixels, y), seed), lossless=True)


def _npz(path: Path) -> Source:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x = {split: arrays[f"x_{split}"] for split in ("train", "test")}
            y = {split: arrays[f"y_{split}"] for split in ("train", "test")}
    except KeyError as error:
        raise BadSource(f"{path.name}: lacks an array; takes x_train, y_train, x_test, y_test") from error
    except Exception as error:  # whatever a broken archive makes numpy raise
        raise BadSource(f"{path.name}: {error}") from error
    for split in ("train", "test"):
        labels = y[split]
        if x[split].dtype != np.uint8:
            raise BadSource(f"{path.name}: x_{split} is {x[split].dtype}; takes uint8")
        if (
            labels.ndim != 1
            or labels.dtype.kind not in "iu"
            or len(labels) != len(x[split])
            or labels.min(initial=0) < 0
        ):
            raise BadSource(
                f"{path.name}: y_{split} is {labels.dtype} {list(labels.shape)}; takes a label >= 0 an image"
            )
        datasets.image_shape(path.name, x[split].shape)
    classes = [str(label) for label in range(1 + max(int(labels.max(initial=0)) for labels in y.values()))]
    return Source(classes, _arrays(x["train"], y["train"]), _arrays(x["test"], y["test"]))


def _folder(path: Path, seed: int) -> Source:
    train_folder, test_folder = datasets.split_folders(path)
    train = datasets.class_files(train_folder)
    classes = list(train)
    if test_folder is None:
        return replace(split_source(classes, _files(train, classes, path), seed), lossless=_lossless(train))
    test = datasets.class_files(test_folder)
    unknown = sorted(set(test) - set(train))
    if unknown:
        raise BadSource(f"{path.name}/{test_folder.name}: classes that train lacks: {', '.join(unknown[:5])}")
    return Source(classes, _files(train, classes, path), _files(test, classes, path), _lossless(train, test))


def _lossless(*splits: dict[str, list[Path]]) -> bool | None:
    """By the names of the files: False where one is a JPEG; None where WebP or TIFF leaves it open."""
    suffixes = {path.suffix.lower() for files in splits for paths in files.values() for path in paths}
    if suffixes & {".jpg", ".jpeg"}:
        return False
    return None if suffixes & {".webp", ".tif", ".tiff"} else True


def _torchvision(name: str, root: Path, seed: int, download: bool) -> Source:
    from torchvision import datasets as tv  # slow to import, and needed here alone

    try:
        if name == "caltech101":
            tv.Caltech101(root, download=download)
            files = datasets.caltech_files(root)
            return replace(split_source(list(files), _files(files, list(files), root), seed), lossless=False)
        if name == "flowers102":
            # Its own loader would decode every image: take the paths, and decode what is drawn.
            sets = [tv.Flowers102(root, split, download=download, loader=Path) for split in ("train", "val", "test")]
            train, val, test = ([(Path(path), label) for path, label in images] for images in sets)
            return Source([str(label) for label in range(102)], _pairs(train + val, root), _pairs(test, root), False)
        made: dict[str, Any] = {
            "cifar10": tv.CIFAR10,
            "cifar100": tv.CIFAR100,
            "mnist": tv.MNIST,
            "fashion_mnist": tv.FashionMNIST,
        }
        parts = [made[name](root, train=train, download=download) for train in (True, False)]
    except (RuntimeError, OSError) as error:
        raise BadSource(f"{name}: {error}") from error
    train, test = (_arrays(np.asarray(part.data), np.asarray(part.targets)) for part in parts)
    return Source(list(parts[0].classes), train, test, lossless=True)


def _arrays(pixels: np.ndarray, labels: np.ndarray) -> SourceSplit:
    if pixels.ndim == 4 and pixels.shape[3] == 1:
        pixels = pixels[..., 0]
    return SourceSplit(labels.astype(np.int64), lambda i: Image.fromarray(pixels[i]))


def _files(files: dict[str, list[Path]], classes: list[str], root: Path) -> SourceSplit:
    return _pairs([(path, classes.index(name)) for name, paths in files.items() for path in paths], root)


def _pairs(pairs: list[tuple[Path, int]], root: Path) -> SourceSplit:
    labels = np.array([label for _, label in pairs], np.int64)
    return SourceSplit(labels, lambda i: decode(pairs[i][0], root), lambda i: str(pairs[i][0].relative_to(root.parent)))


def decode(path: Path, root: Path) -> Image.Image:
    """An image file as RGB. Raises BadSource, naming the file, if it is broken or larger than MAX_PIXELS."""
    name = path.relative_to(root.parent)
    try:
        with (
            warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
            Image.open(path) as image,
        ):
            if image.width * image.height > MAX_PIXELS:
                raise BadSource(f"{name}: {image.width} x {image.height} pixels; takes at most {MAX_PIXELS}")
            return image.convert("RGB")
    except BadSource:
        raise
    except Exception as error:  # decoders raise anything on hostile bytes
        raise BadSource(f"{name}: {type(error).__name__}: {error}") from error


def split_source(classes: list[str], part: SourceSplit, seed: int) -> Source:
    """A source of which a stratified draw of TEST_FRACTION becomes the test split."""
    # Before any choice of classes or of a number of images, which must not move an image between the splits.
    train, test = stratified_split(part.labels, datasets.TEST_FRACTION, derive(seed, "split"))
    return Source(classes, _take(part, train), _take(part, test))


def _take(part: SourceSplit, chosen: np.ndarray) -> SourceSplit:
    return SourceSplit(part.labels[chosen], lambda i: part.image(int(chosen[i])), lambda i: part.name(int(chosen[i])))
