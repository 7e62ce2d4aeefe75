"""Exported data sets, read back by other software: pixels, labels, the card, and bytes that do not change."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.run import Input, Inputs, LocalRun
from robxfer_core.science.data.artifact import Batch, write_shards
from robxfer_core.science.data.export.formats import class_folders

KEY = "0" * 64
CLASSES = ["ant", "../bee", "c/d"]


def made(folder: Path, dtype: str, channels: int) -> tuple[Input, dict[str, Batch]]:
    rng = np.random.default_rng(0)
    splits = {}
    for split, n in (("train", 11), ("test", 5)):
        x = rng.integers(0, 256, (n, channels, 6, 6)).astype(np.uint8)
        stored = (
            x if dtype == "uint8" else (x / 255 + rng.uniform(-0.001, 0.001, x.shape)).clip(0, 1).astype(np.float16)
        )
        splits[split] = Batch(stored, np.arange(n) % 3, (np.arange(n) + 1) % 3)
    whole = {split: [batch] for split, batch in splits.items()}
    write_shards(folder, name="insects", variant="antirobust", classes=CLASSES, splits=whole)
    (folder / "result.json").write_text(json.dumps({"fooling": {"train": 0.97}, "threat": {"norm": "l2", "eps": 0.5}}))
    return Input(folder, KEY), splits


def exported(source: Input, form: str) -> LocalRun:
    run = LocalRun()
    compute("export_dataset", {"dataset": KEY, "format": form, "shard": 4}, Inputs({"dataset": [source]}), run)
    return run


def decoded(data: bytes, channels: int) -> np.ndarray:
    array = np.asarray(Image.open(io.BytesIO(data)))
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def images(out: Path, form: str, channels: int) -> dict[str, list[tuple[np.ndarray, int]]]:
    """What the export holds: (image [C, H, W], label) of each split, in order."""
    found: dict[str, list[tuple[np.ndarray, int]]] = {"train": [], "test": []}
    if form == "folder":
        with zipfile.ZipFile(out / "images.zip") as archive:
            for name in sorted(archive.namelist(), key=lambda name: name.rsplit("/", 1)[1]):
                split, folder, _ = name.split("/")
                found[split].append((decoded(archive.read(name), channels), class_folders(CLASSES).index(folder)))
    for split, told in found.items():
        if form == "npz":
            with np.load(out / "dataset.npz", allow_pickle=False) as arrays:
                x = arrays[f"x_{split}"]
                x = x[:, None] if channels == 1 else x.transpose(0, 3, 1, 2)
                told += zip(x, arrays[f"y_{split}"].tolist(), strict=True)
        elif form == "parquet":
            for path in sorted((out / "data").glob(f"{split}-*-of-*.parquet")):
                rows = parquet.read_table(path).to_pylist()
                told += [(decoded(row["image"]["bytes"], channels), row["label"]) for row in rows]
        elif form == "webdataset":
            for path in sorted(out.glob(f"{split}-*.tar")):
                with tarfile.open(path) as archive:
                    files = {each.name: archive.extractfile(each).read() for each in archive}  # pyright: ignore[reportOptionalMemberAccess]
                for key in sorted({name.split(".")[0] for name in files}):
                    told.append((decoded(files[f"{key}.png"], channels), int(files[f"{key}.cls"])))
                    assert json.loads(files[f"{key}.json"])["label"] == int(files[f"{key}.cls"])
    return found


@pytest.mark.parametrize("form", ["folder", "npz", "parquet", "webdataset"])
@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 3), ("uint8", 1), ("float16", 3)])
def test_what_is_exported_reads_back(tmp_path: Path, form: str, dtype: str, channels: int) -> None:
    source, splits = made(tmp_path, dtype, channels)
    run = exported(source, form)
    back = images(run.out, form, channels)
    lossless = dtype == "uint8" or form == "npz"
    for split, batch in splits.items():
        assert [label for _, label in back[split]] == batch.y.tolist()
        for (x, _), stored in zip(back[split], batch.x, strict=True):
            if lossless:
                assert x.dtype == stored.dtype
                np.testing.assert_array_equal(x, stored)
            else:
                assert np.abs(x / 255 - stored.astype(float)).max() <= 0.5 / 255 + 1e-3
    told = json.loads((run.out / "result.json").read_text())
    assert told["lossless"] == lossless
    assert (run.out / "exact.npz").is_file() != lossless
    if not lossless:
        with np.load(run.out / "exact.npz", allow_pickle=False) as arrays:
            np.testing.assert_array_equal(arrays["x_train"].transpose(0, 3, 1, 2), splits["train"].x)
            np.testing.assert_array_equal(arrays["original_train"], splits["train"].original)
    card = (run.out / "README.md").read_text()
    assert '"fooling"' in card
    assert ("rounded" in card) != lossless
    again = exported(source, form)
    for path in run.out.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (again.out / path.relative_to(run.out)).read_bytes(), path.name


def test_parquet_tells_hugging_face_what_its_columns_are(tmp_path: Path) -> None:
    run = exported(made(tmp_path, "uint8", 3)[0], "parquet")
    names = sorted(path.name for path in (run.out / "data").iterdir())
    assert names[:2] == ["test-00000-of-00002.parquet", "test-00001-of-00002.parquet"]
    schema = parquet.read_schema(run.out / "data" / names[0])
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"names": CLASSES, "_type": "ClassLabel"}
    assert set(features) == set(schema.names)
    assert (run.out / "README.md").read_text().startswith("---\nconfigs:")


@pytest.mark.peers
@pytest.mark.parametrize("channels", [1, 3])
def test_hugging_face_datasets_opens_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed; `make peers`")
    source, splits = made(tmp_path, "uint8", channels)
    opened = datasets.load_dataset(str(exported(source, "parquet").out), cache_dir=str(tmp_path / "cache"))
    assert {split: len(opened[split]) for split in opened} == {"train": 11, "test": 5}
    for split, batch in splits.items():
        assert opened[split].features["label"].names == CLASSES
        found = [np.asarray(each).reshape(6, 6, channels).transpose(2, 0, 1) for each in opened[split]["image"]]
        assert np.array_equal(found, batch.x)
        assert opened[split]["label"][:] == batch.y.tolist()


def test_no_class_name_leads_out_of_its_folder(tmp_path: Path) -> None:
    assert class_folders(CLASSES) == ["0_ant", "1_bee", "2_c-d"]
    with zipfile.ZipFile(exported(made(tmp_path, "uint8", 1)[0], "folder").out / "images.zip") as archive:
        assert all(name.count("/") == 2 and ".." not in name for name in archive.namelist())
