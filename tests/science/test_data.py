"""Data sets: digits as they are given, subsets of them, shards that give back what was written."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robxfer_core.jobs.run import LocalRun
from robxfer_core.science.data import artifact
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.spec import datasets
from robxfer_core.spec.datasets import BadSource

from .reading import read


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
    unit = to_unit(images.x)
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
