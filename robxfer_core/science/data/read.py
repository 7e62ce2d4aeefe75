"""Kind `dataset`: reads a source of images once into uint8 shards."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from robxfer_core.jobs.dataset import Dataset
from robxfer_core.jobs.import_dataset import ImportDataset
from robxfer_core.jobs.results import DatasetResult, DatasetSummary
from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.science.support.seeds import derive
from robxfer_core.spec.datasets import BadSource

from .artifact import Batch, write_shards
from .sources import MAX_PIXELS, Source, SourceSplit, open_source
from .subset import stratified_order

BATCH = 256


def read_dataset(spec: Dataset, inputs: Inputs, run: Run) -> DatasetResult:
    """Write the data set. Every prefix of each split, as written, is stratified. Raises BadSource."""
    source = open_source(spec.name, run.data_root, spec.seed, spec.download)
    kept = spec.classes if spec.classes is not None else list(range(len(source.classes)))
    _check_classes(spec.name, kept, len(source.classes))
    return write_source(source, kept, spec, run)


def write_source(source: Source, kept: list[int], spec: Dataset | ImportDataset, run: Run) -> DatasetResult:
    """Write the classes that are kept of a source, by the spec's options. Raises BadSource."""
    parts = {"train": source.train, "test": source.test}
    most = {"train": spec.max_train, "test": spec.max_test}
    chosen = {split: _choose(part, kept, most[split], derive(spec.seed, split)) for split, part in parts.items()}
    for split, (indices, _) in chosen.items():
        if len(indices) == 0:
            raise BadSource(f"{spec.name}: the {split} split has no image of the classes {kept}")
    total, done = sum(len(indices) for indices, _ in chosen.values()), 0

    def batches(split: str) -> Iterator[Batch]:
        nonlocal done
        indices, labels = chosen[split]
        for start in range(0, len(indices), BATCH):
            piece = slice(start, start + BATCH)
            images = [pixels(parts[split], int(i), spec.size, spec.interpolation) for i in indices[piece]]
            yield Batch(_stack(spec.name, images), labels[piece])
            done += len(images)
            run.progress(done, total, "images")

    card = write_shards(
        run.out,
        name=spec.name,
        variant="standard",
        classes=[source.classes[label] for label in kept],
        splits={split: batches(split) for split in parts},
        lossless=source.lossless,
    )
    return DatasetResult(
        data=DatasetSummary(
            name=spec.name,
            variant="standard",
            classes=len(kept),
            shape=card["shape"],
            n_train=len(chosen["train"][0]),
            n_test=len(chosen["test"][0]),
        )
    )


def _check_classes(name: str, kept: list[int], known: int) -> None:
    wrong = [label for label in kept if not 0 <= label < known]
    if wrong or len(set(kept)) != len(kept):
        raise BadSource(f"{name}: classes {wrong or kept}; takes different ones of 0 to {known - 1}")


def _choose(part: SourceSplit, kept: list[int], most: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images to keep, in the order in which they are written, and their new labels."""
    relabel = np.full(1 + max(*kept, int(part.labels.max(initial=0))), -1)
    relabel[kept] = np.arange(len(kept))
    labels = relabel[part.labels]
    indices = np.flatnonzero(labels >= 0)
    indices = indices[stratified_order(labels[indices], seed)][:most]
    return indices, labels[indices]


def pixels(part: SourceSplit, index: int, size: int | None, interpolation: str) -> np.ndarray:
    """An image as [C, H, W] uint8; with a size, the short side is resized to it and the middle is cut out.

    Raises BadSource, naming the image, where it is so long that it would have more than MAX_PIXELS when resized.
    """
    image = part.image(index)
    if size is not None and image.size != (size, size):
        scale = size / min(image.size)
        wide, high = (max(size, round(scale * side)) for side in image.size)
        if wide * high > MAX_PIXELS:
            got = f"{image.width} x {image.height} pixels, {wide} x {high} with a short side of {size}"
            raise BadSource(f"{part.name(index)}: {got}; takes at most {MAX_PIXELS}")
        how = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}[interpolation]
        left, top = (wide - size) // 2, (high - size) // 2
        image = image.resize((wide, high), how).crop((left, top, left + size, top + size))
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _stack(name: str, images: list[np.ndarray]) -> np.ndarray:
    shapes = {image.shape for image in images}
    if len(shapes) != 1 or (shape := shapes.pop())[1] != shape[2]:
        raise BadSource(f"{name}: its images are not all squares of one size; takes `size`")
    return np.stack(images)
