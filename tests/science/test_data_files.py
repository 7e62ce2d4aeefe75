"""Data sets of files: folders and arrays of a user's own, and real sets as they are laid out."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robxfer_core.science.data import artifact, sources
from robxfer_core.science.data.read import pixels
from robxfer_core.spec import datasets
from robxfer_core.spec.datasets import BadSource

from .reading import read


def folder(root: Path, **splits: dict[str, int]) -> None:
    shade = 0
    for split, classes in splits.items():
        for name, count in classes.items():
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                shade += 1
                Image.new("RGB", (40, 30), (shade, 2 * shade, 0)).save(root / split / name / f"{i}.png")


def test_a_folder_of_images(tmp_path: Path) -> None:
    folder(tmp_path / "pets", train={"cat": 4, "dog": 3}, val={"cat": 1, "dog": 2})
    run = read(tmp_path, name="pets", size=8)
    train, test = artifact.load(run.out, "train"), artifact.load(run.out, "test")
    assert train.x.shape == (7, 3, 8, 8)
    assert sorted(zip(train.x[:, 0, 0, 0].tolist(), train.y.tolist(), strict=True)) == [
        (1, 0), (2, 0), (3, 0), (4, 0), (5, 1), (6, 1), (7, 1),
    ]  # fmt: skip
    assert (len(test.x), test.classes) == (3, ["cat", "dog"])
    with pytest.raises(BadSource, match="size"):
        read(tmp_path, name="pets")


def test_the_middle_is_cut_out() -> None:
    image = Image.new("L", (40, 20))
    image.paste(255, (10, 0, 30, 20))
    cut = pixels(sources.SourceSplit(np.zeros(1, np.int64), lambda _: image), 0, 10, "nearest")
    assert cut.shape == (1, 10, 10)
    assert cut.min() == 255


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    folder(tmp_path / "pets", train={"cat": 2, "dog": 2}, test={"cat": 1, "dog": 1})
    file = tmp_path / "pets" / "train" / "dog" / "1.png"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(BadSource, match=r"pets/train/dog/1\.png"):
        read(tmp_path, name="pets", size=8)


def test_a_decompression_bomb_is_not_opened(tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(whole, "png")  # 12 KB of file, 300 MB as RGB
    (tmp_path / "bomb.png").write_bytes(whole.getvalue())
    with pytest.raises(BadSource, match=r"bomb\.png: 10000 x 10000"):
        sources.decode(tmp_path / "bomb.png", tmp_path)


def test_test_classes_that_train_lacks(tmp_path: Path) -> None:
    folder(tmp_path / "pets", train={"cat": 2, "dog": 2}, test={"cat": 1, "cow": 1})
    with pytest.raises(BadSource, match="cow"):
        read(tmp_path, name="pets", size=8)


@pytest.mark.parametrize("shape", [(9, 6, 6), (9, 6, 6, 1), (9, 6, 6, 3)])
def test_npz(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    y = np.arange(9, dtype=np.uint8) % 3
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x[:3], y_test=y[:3])
    run = read(tmp_path, name="own")
    images = artifact.load(run.out, "test")
    facts = datasets.scan(tmp_path)["own"]
    assert list(images.x.shape[1:]) == facts["shape"]
    assert len(images.classes) == facts["classes"] == 3
    grid = x.reshape(9, 6, 6, -1)
    for image, label in zip(images.x, images.y, strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), grid[int(label)])


@pytest.mark.parametrize("y", [np.arange(4), np.array([0.5, 1, 1]), np.array([-1, 0, 1]), np.array([{}, 1, 1], object)])
def test_npz_labels_that_are_none(tmp_path: Path, y: np.ndarray) -> None:
    x = np.zeros((3, 4, 4), np.uint8)
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x, y_test=np.arange(3), allow_pickle=True)
    with pytest.raises(BadSource, match=r"own\.npz"):
        read(tmp_path, name="own")


def test_a_set_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match="not set"):
        read(None, name="mnist")
    with pytest.raises(BadSource, match="takes digits"):
        read(tmp_path, name="mnist")


def test_mnist_as_torchvision_lays_it_out(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    x, y = np.arange(6 * 28 * 28, dtype=np.uint8).reshape(6, 28, 28), np.arange(6, dtype=np.uint8)
    for split in ("train", "t10k"):
        head = (0x803).to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in (6, 28, 28))
        (raw / f"{split}-images-idx3-ubyte").write_bytes(head + x.tobytes())
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(
            (0x801).to_bytes(4, "big") + (6).to_bytes(4, "big") + y.tobytes()
        )
    images = artifact.load(read(tmp_path, name="mnist").out, "train")
    assert torch.equal(images.x[images.y.argsort(), 0], torch.from_numpy(x))


def test_caltech_as_torchvision_lays_it_out(tmp_path: Path) -> None:
    folder(tmp_path / "caltech101", **{"101_ObjectCategories": {"ant": 8, "bass": 8, "BACKGROUND_Google": 3}})
    run = read(tmp_path, name="caltech101", size=8)
    assert artifact.read_card(run.out).classes == ["ant", "bass"]
    assert artifact.load(run.out, "test").y.bincount().tolist() == [2, 2]


@pytest.mark.parametrize(
    ("name", "classes", "train", "test", "shape"),
    [
        ("cifar10", 10, 25_000, 5_000, [3, 32, 32]),
        ("mnist", 10, 60_000, 10_000, [1, 28, 28]),
        ("hymenoptera", 2, 244, 153, None),
        ("flowers17", 17, 1_020, 340, None),
        ("caltech101", 97, 2_910, 1_628, None),
    ],
)
def test_real_sets(name: str, classes: int, train: int, test: int, shape: list[int] | None) -> None:
    root = os.environ.get("ROBXFER_DATA_ROOT")
    if not root:
        pytest.skip("ROBXFER_DATA_ROOT is not set")
    facts = datasets.scan(Path(root)).get(name)
    if facts is None:
        pytest.skip(f"{name} is not under ROBXFER_DATA_ROOT")
    assert facts == {"shape": shape, "classes": classes, "train": train, "test": test}
    run = read(Path(root), name=name, size=32, max_train=2 * classes, max_test=classes)
    images = artifact.load(run.out, "train")
    assert images.x.shape == (2 * classes, 1 if name == "mnist" else 3, 32, 32)
    assert images.x.float().std() > 20
    assert int(images.y.bincount(minlength=classes).min()) >= 1
