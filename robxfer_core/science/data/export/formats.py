"""The formats: what is written has no time, owner or order of its own, so equal sets give equal bytes."""

import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can tell
PIECE = 256
Progress = Callable[[int], None]


class SplitImages(NamedTuple):
    """One split: images [n, C, H, W] as stored, labels [n], and the images' own classes where those are others."""

    name: str
    x: np.ndarray
    y: np.ndarray
    original: np.ndarray | None


def png(x: np.ndarray) -> bytes:
    """An image [C, H, W], uint8 or floats in [0,1] (rounded to the nearest 1/255), as PNG."""
    if x.dtype != np.uint8:
        x = np.rint(x.astype(np.float32) * 255).clip(0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(x[0] if len(x) == 1 else np.ascontiguousarray(x.transpose(1, 2, 0))).save(out, "PNG")
    return out.getvalue()


def class_folders(classes: list[str]) -> list[str]:
    """A folder's name for each class: its number, so that sorting keeps the order, and what is harmless of its name."""
    width = len(str(len(classes) - 1))
    slugs = [re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:64] for name in classes]
    return [f"{number:0{width}d}" + (f"_{slug}" if slug else "") for number, slug in enumerate(slugs)]


def write_folder(out: Path, splits: list[SplitImages], classes: list[str], shard: int, progress: Progress) -> None:
    """images.zip, not compressed again: SPLIT/CLASS/NUMBER.png."""
    folders = class_folders(classes)
    with zipfile.ZipFile(out / "images.zip", "w", zipfile.ZIP_STORED) as archive:
        for split in splits:
            for number, (x, y) in enumerate(zip(split.x, split.y, strict=True)):
                entry = zipfile.ZipInfo(f"{split.name}/{folders[y]}/{number:06d}.png", EPOCH)
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, png(x))
                progress(1)


def write_dataset_npz(out: Path, splits: list[SplitImages], classes: list[str], shard: int, progress: Progress) -> None:
    """dataset.npz."""
    write_npz(out / "dataset.npz", splits, classes)
    progress(sum(len(split.y) for split in splits))


def write_npz(path: Path, splits: list[SplitImages], classes: list[str]) -> None:
    """x_SPLIT [n, H, W] or [n, H, W, 3] as stored, y_SPLIT, original_SPLIT where it differs, and the classes' names."""
    arrays: dict[str, Any] = {"classes": np.array(classes)}
    for split in splits:
        arrays[f"x_{split.name}"] = split.x[:, 0] if split.x.shape[1] == 1 else split.x.transpose(0, 2, 3, 1)
        arrays[f"y_{split.name}"] = split.y
        if split.original is not None:
            arrays[f"original_{split.name}"] = split.original
    np.savez(path, allow_pickle=False, **arrays)


def write_parquet(out: Path, splits: list[SplitImages], classes: list[str], shard: int, progress: Progress) -> None:
    """data/SPLIT-00000-of-0000N.parquet: `image` {bytes, path}, `label`, and `original_label` where there is one.

    Hugging Face `datasets` reads the columns' meaning from the schema's metadata, under `huggingface`.
    """
    names = {"names": classes, "_type": "ClassLabel"}
    for split in splits:
        features: dict[str, Any] = {"image": {"_type": "Image"}, "label": names}
        fields = [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("label", pa.int64()),
        ]
        if split.original is not None:
            # The own class of an image is not always one of the labels: of a stego set, it is its cover's.
            features["original_label"] = {"dtype": "int64", "_type": "Value"}
            fields.append(("original_label", pa.int64()))
        told = json.dumps({"info": {"features": features}})
        schema = pa.schema(fields, metadata={"huggingface": told})
        count = -(-len(split.y) // shard)
        for number, places in _shards(len(split.y), shard):
            path = out / "data" / f"{split.name}-{number:05d}-of-{count:05d}.parquet"
            path.parent.mkdir(exist_ok=True)
            with parquet.ParquetWriter(path, schema) as writer:
                for piece in (places[at : at + PIECE] for at in range(0, len(places), PIECE)):
                    columns: dict[str, Any] = {
                        "image": [{"bytes": png(split.x[i]), "path": f"{i:06d}.png"} for i in piece],
                        "label": split.y[piece.start : piece.stop],
                    }
                    if split.original is not None:
                        columns["original_label"] = split.original[piece.start : piece.stop]
                    writer.write_table(pa.table(columns, schema=schema))
                    progress(len(piece))


def write_webdataset(out: Path, splits: list[SplitImages], classes: list[str], shard: int, progress: Progress) -> None:
    """SPLIT-000000.tar: for each image NUMBER.png, NUMBER.cls (the label) and NUMBER.json (label, class, own class)."""
    for split in splits:
        for number, places in _shards(len(split.y), shard):
            with tarfile.open(out / f"{split.name}-{number:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
                for i in places:
                    label = int(split.y[i])
                    told = {"label": label, "class": classes[label]}
                    if split.original is not None:
                        told["original_label"] = int(split.original[i])
                    # Files of one image have one key, and lie beside each other.
                    _add(archive, f"{i:06d}.png", png(split.x[i]))
                    _add(archive, f"{i:06d}.cls", str(label).encode())
                    _add(archive, f"{i:06d}.json", json.dumps(told, sort_keys=True).encode())
                    progress(1)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # time 0, owner 0
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _shards(count: int, size: int) -> Iterator[tuple[int, range]]:
    for number, start in enumerate(range(0, count, size)):
        yield number, range(start, min(start + size, count))


WRITERS: dict[str, Callable[[Path, list[SplitImages], list[str], int, Progress], None]] = {
    "folder": write_folder,
    "npz": write_dataset_npz,
    "parquet": write_parquet,
    "webdataset": write_webdataset,
}
