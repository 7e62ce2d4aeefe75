"""Data sets: draws that keep proportions, files read as they are, shards that give back what was written."""

import io
import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from robxfer_core.science.data import artifact, sources
from robxfer_core.science.data.augment import augment
from robxfer_core.science.data.read import pixels
from robxfer_core.science.data.subset import stratified_order, stratified_split
from robxfer_core.science.kinds import compute
from robxfer_core.science.run import Inputs, LocalRun
from robxfer_core.spec import datasets
from robxfer_core.spec.datasets import BadSource
from robxfer_core.spec.fields import Augment


def read(root: Path | None = None, **params: Any) -> LocalRun:
    run = LocalRun(data_root=root)
    compute("dataset", params, Inputs({}), run)
    return run


# Draws


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(0, 2**31 - 1))
def test_every_prefix_is_stratified(counts: list[int], seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    order = stratified_order(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    have = np.cumsum(np.eye(len(counts))[labels[order]], axis=0)
    share = np.outer(np.arange(1, len(labels) + 1), counts) / len(labels)
    assert np.abs(have - share).max() < 1


@given(st.integers(0, 100), st.floats(0, 0.9))
def test_a_split_is_a_stratified_partition(seed: int, fraction: float) -> None:
    labels = np.repeat([3, 5, 9], [40, 10, 25])
    rest, held = stratified_split(labels, fraction, seed)
    assert sorted([*rest, *held]) == list(range(75))
    assert len(held) == round(fraction * 75)
    for label in (3, 5, 9):
        assert abs((labels[held] == label).sum() - len(held) * (labels == label).mean()) < 1


def test_draws_depend_on_the_seed_alone() -> None:
    labels = np.arange(100) % 7
    assert np.array_equal(stratified_order(labels, 1), stratified_order(labels, 1))
    assert not np.array_equal(stratified_order(labels, 1), stratified_order(labels, 2))
    assert len(stratified_order(np.empty(0, np.int64), 0)) == 0


# Digits


def rows(run: LocalRun, split: Any) -> list[bytes]:
    return [image.numpy().tobytes() for image in artifact.load(run.out, split).x]


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    run = read(name="digits")
    facts = datasets.BUILTIN["digits"]
    train, test = artifact.load(run.out, "train"), artifact.load(run.out, "test")
    assert (len(train.x), len(test.x), list(train.x.shape[1:])) == (facts["train"], facts["test"], facts["shape"])
    theirs = np.sort(load_digits(return_X_y=True)[0].sum(axis=1))
    ours = np.sort(torch.cat([train.x, test.x]).float().mul(16 / 255).round().sum(dim=(1, 2, 3)).numpy())
    assert np.array_equal(theirs, ours)


def test_subsets_nest_and_no_choice_moves_an_image_between_the_splits() -> None:
    whole, small, smaller = read(name="digits"), read(name="digits", max_train=300), read(name="digits", max_train=50)
    assert rows(smaller, "train") == rows(small, "train")[:50]
    assert rows(small, "train") == rows(whole, "train")[:300]
    half = read(name="digits", classes=[7, 2])
    assert set(rows(half, "train")) <= set(rows(whole, "train"))
    assert set(rows(half, "test")) <= set(rows(whole, "test"))


def test_classes_are_relabelled_in_order() -> None:
    whole, half = read(name="digits"), read(name="digits", classes=[7, 2])
    images = artifact.load(half.out, "train")
    assert images.classes == ["7", "2"]
    own = dict(zip(rows(whole, "train"), artifact.load(whole.out, "train").y.tolist(), strict=True))
    assert [own[row] for row in rows(half, "train")] == [[7, 2][label] for label in images.y.tolist()]


@pytest.mark.parametrize("classes", [[0, 10], [-1, 2], [3, 3]])
def test_a_class_that_is_not_there(classes: list[int]) -> None:
    with pytest.raises(BadSource, match="takes different ones of 0 to 9"):
        read(name="digits", classes=classes)


def test_nearest_repeats_pixels() -> None:
    small, large = read(name="digits"), read(name="digits", size=16, interpolation="nearest")
    x = artifact.load(small.out, "test").x
    assert torch.equal(artifact.load(large.out, "test").x, x.repeat_interleave(2, 2).repeat_interleave(2, 3))


# Files


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
    cut = pixels(sources.Part(np.zeros(1, np.int64), lambda _: image), 0, 10, "nearest")
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


# Shards


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_shards_give_back_what_was_written(tmp_path: Path, dtype: str) -> None:
    n = artifact.SHARD + 100
    x = np.random.default_rng(0).integers(0, 256, (n, 1, 2, 2)).astype(dtype)
    x = x / np.float16(256) if dtype == "float16" else x
    y, own = np.arange(n) % 4, np.arange(n) % 3
    cuts = [0, 10, 4090, 4100, n]
    batches = [artifact.Batch(x[a:b], y[a:b], own[a:b]) for a, b in pairwise(cuts)]
    splits = {"train": iter(batches), "test": batches[:1]}
    artifact.write_shards(tmp_path, name="a", variant="antirobust", classes=list("abcd"), splits=splits)
    images = artifact.load(tmp_path, "train")
    assert artifact.read_card(tmp_path).splits["train"].shards == ["train-00000.npz", "train-00001.npz"]
    assert np.array_equal(images.x.numpy(), x)
    assert np.array_equal(images.y.numpy(), y)
    assert images.original is not None
    assert np.array_equal(images.original.numpy(), own)
    unit = artifact.to_unit(images.x)
    assert unit.dtype == torch.float32
    assert 0 <= unit.min() <= unit.max() <= 1


def test_equal_images_give_equal_bytes() -> None:
    first, second = (read(name="digits", max_train=40, max_test=20) for _ in range(2))
    for path in sorted(first.out.iterdir()):
        assert path.read_bytes() == (second.out / path.name).read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"splits": {"train": {"n": 6, "shards": ["../train-00000.npz"]}}},
        {"splits": {"train": {"n": 7, "shards": ["train-00000.npz"]}}},
        {"splits": {"train": {"n": 5, "shards": ["train-00000.npz"]}}},
        {"shape": [1, 9, 9]},
        {"dtype": "float16"},
        {"classes": ["a"]},
    ],
)
def test_a_dataset_json_that_lies_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    batch = artifact.Batch(np.zeros((6, 1, 4, 4), np.uint8), np.arange(6) % 2)
    card = artifact.write_shards(tmp_path, name="a", variant="standard", classes=["a", "b"], splits={"train": [batch]})
    (tmp_path / "dataset.json").write_text(json.dumps(card | change))
    with pytest.raises(artifact.BadDataset):
        artifact.load(tmp_path, "train")


# Augmentation


def test_each_crop_is_a_window_of_the_padded_image() -> None:
    x = torch.arange(1, 50 * 2 * 6 * 6 + 1).view(50, 2, 6, 6)
    out = augment(x, Augment(crop=2, flip=True), torch.Generator().manual_seed(0))
    assert torch.equal(out, augment(x, Augment(crop=2, flip=True), torch.Generator().manual_seed(0)))
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
    seen = set()
    for before, after in zip(padded, out, strict=True):
        windows = {
            (i, j, flipped): window.flip(-1) if flipped else window
            for i in range(5)
            for j in range(5)
            for flipped in (False, True)
            for window in [before[:, i : i + 6, j : j + 6]]
        }
        (place,) = [place for place, window in windows.items() if torch.equal(window, after)]
        seen.add(place)
    assert len(seen) > 25  # of 50 places, 50 draws see about 32
    assert {flipped for *_, flipped in seen} == {False, True}


def test_nothing_asked_nothing_done() -> None:
    x = torch.rand(3, 1, 4, 4)
    assert torch.equal(augment(x, Augment(), torch.Generator()), x)


# Real sets


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
