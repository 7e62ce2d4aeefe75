"""Kind `import_dataset`: an uploaded set of images, checked, becomes the artifact that `dataset` leaves."""

import io
import math
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from robxfer_core.jobs.import_dataset import ImportDataset
from robxfer_core.jobs.results import DatasetResult
from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.science.data.read import pixels, write_source
from robxfer_core.science.data.sources import MAX_PIXELS, Source, SourceSplit, split_source
from robxfer_core.spec.datasets import BadSource

from . import archive, npz
from .layout import CLASSES, FolderLayout, read_layout
from .refusal import BadUpload

IMAGE_BYTES = 64 << 20
"""Of one image file."""
IMAGES = 2_000_000
"""Of one split of an .npz, where each may be of a single pixel."""
OUT_BYTES = 64 << 30
"""Of all images as they are kept."""
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
"""Of 8 bits a channel at the most: floats and 16 bits would lose more than their maker may know."""


def import_dataset(spec: ImportDataset, inputs: Inputs, run: Run) -> DatasetResult:
    """Write the data set of the uploaded file. Raises BadUpload, which says what is wrong where."""
    path = upload(inputs)
    with tempfile.TemporaryDirectory(dir=run.out.parent) as scratch:
        source = _npz(path, Path(scratch)) if _is_npz(path) else _folders(path, spec, Path(scratch) / "images", run)
        try:
            _check_room(source, spec)
            return write_source(source, list(range(len(source.classes))), spec, run)
        except BadSource as error:
            raise BadUpload("the images", str(error), "square images of one size, or `size`") from error


def upload(inputs: Inputs) -> Path:
    """The uploaded file. Raises BadUpload where it was removed, as one that was refused before is."""
    given = inputs.maybe("upload")
    if given is None:
        raise BadUpload("upload", "a file that is not there any more", "one that is: upload it again")
    return given.path / "upload"


def _is_npz(path: Path) -> bool:
    with path.open("rb") as file:
        if file.read(4) not in archive.ZIP:
            return False
        file.seek(0)
        try:
            with archive.open_zip(file) as opened:
                return any(entry.orig_filename.endswith(".npy") for entry in opened.infolist())
        except Exception:  # what is wrong with it, the reading will say
            return False


def _npz(path: Path, scratch: Path) -> Source:
    arrays = npz.read(path, ("x_train", "y_train", "x_test", "y_test"), scratch)
    parts: dict[str, SourceSplit] = {}
    for split in ("train", "test"):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if x.dtype != np.uint8 or x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] not in (1, 3)):
            raise BadUpload(f"x_{split}", f"{x.dtype} {list(x.shape)}", "uint8 [N, H, W] or [N, H, W, 1 or 3]")
        if len(x) > IMAGES:
            raise BadUpload(f"x_{split}", f"{len(x)} images", f"at most {IMAGES}")
        if math.prod(x.shape[1:3]) > MAX_PIXELS or min(x.shape[1:3]) < 1:
            raise BadUpload(f"x_{split}", f"images of {x.shape[2]} x {x.shape[1]}", f"1 to {MAX_PIXELS} pixels")
        if y.dtype.kind not in "iu" or y.shape != x.shape[:1] or len(y) == 0:
            raise BadUpload(f"y_{split}", f"{y.dtype} {list(y.shape)} for {len(x)} images", "an integer for each image")
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= CLASSES:
            raise BadUpload(f"y_{split}", f"labels from {low} to {high}", f"labels from 0 to {CLASSES - 1} at most")
        x = x[..., 0] if x.ndim == 4 and x.shape[3] == 1 else x
        parts[split] = SourceSplit(y.astype(np.int64), lambda i, x=x: Image.fromarray(np.asarray(x[i])))
    classes = 1 + int(parts["train"].labels.max())
    if int(parts["test"].labels.max()) >= classes:
        raise BadUpload("y_test", f"the label {parts['test'].labels.max()}", f"labels of y_train, 0 to {classes - 1}")
    return _checked(Source([str(label) for label in range(classes)], parts["train"], parts["test"]))


def _folders(path: Path, spec: ImportDataset, images: Path, run: Run) -> Source:
    layout = read_layout(archive.survey(path))
    run.log(f"{len(layout.images)} images of {len(layout.classes)} classes; {layout.others} other files are left out")
    places: dict[str, dict[str, tuple[int, int]]] = {"train": {}, "test": {}}
    with images.open("wb") as file:  # one after the other in a file of ours: their names are never a path

        def take(name: str, pieces: Iterator[bytes]) -> None:
            at, length = file.tell(), 0
            for piece in pieces:
                length += len(piece)
                if length > IMAGE_BYTES:
                    raise BadUpload(name, f"more than {IMAGE_BYTES} bytes", "image files of at most that")
                file.write(piece)
            places[layout.images[name][0]][name] = at, length

        archive.extract(path, layout.images, take)
    train, test = (_part(images, dict(sorted(places[split].items())), layout) for split in ("train", "test"))
    if test.labels.size == 0:
        return _checked(split_source(layout.classes, train, spec.seed))
    return _checked(Source(layout.classes, train, test))


def _part(images: Path, places: dict[str, tuple[int, int]], layout: FolderLayout) -> SourceSplit:
    labels = {name: label for label, name in enumerate(layout.classes)}
    order = list(places)

    def image(index: int) -> Image.Image:
        at, length = places[order[index]]
        with images.open("rb") as file:
            file.seek(at)
            return decode(file.read(length), order[index])

    return SourceSplit(np.array([labels[layout.images[name][1]] for name in order], np.int64), image, order.__getitem__)


def decode(data: bytes, name: str) -> Image.Image:
    """An image file as RGB. Raises BadUpload, naming it, where it is none, broken, too large or not of 8 bits."""
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(data), formats=FORMATS) as image,
        ):
            if image.width * image.height > MAX_PIXELS:
                raise BadUpload(name, f"{image.width} x {image.height} pixels", f"at most {MAX_PIXELS}")
            if image.mode not in MODES:
                raise BadUpload(name, f"pixels of mode {image.mode}", "8 bits a channel")
            return image.convert("RGB")
    except BadUpload:
        raise
    except Exception as error:  # decoders raise anything on hostile bytes
        takes = f"a whole image, {', '.join(FORMATS)}"
        raise BadUpload(name, f"what no decoder takes ({type(error).__name__}: {str(error)[:200]})", takes) from error


def _checked(source: Source) -> Source:
    counts = np.bincount(source.train.labels, minlength=len(source.classes))
    if len(source.classes) < 2:
        raise BadUpload("train", f"{len(source.classes)} class", "2 classes or more")
    if int(counts.min()) == 0:
        raise BadUpload("train", f"no image of the class {source.classes[int(counts.argmin())]}", "some of each class")
    return source


def _check_room(source: Source, spec: ImportDataset) -> None:
    """Refuse what would take too much room as it is kept, by its first image: all have the same shape in the end."""
    image = pixels(source.train, 0, spec.size, spec.interpolation)
    parts = ((source.train, spec.max_train), (source.test, spec.max_test))
    count = sum(min(len(part.labels), most or len(part.labels)) for part, most in parts)
    if count * image.nbytes > OUT_BYTES:
        got = f"{count} images of {'x'.join(map(str, image.shape))}"
        raise BadUpload("the images", got, f"at most {OUT_BYTES} bytes of pixels: a smaller `size`, or fewer")
