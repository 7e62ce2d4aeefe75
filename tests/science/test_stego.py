"""Messages in images: what embedding may change, and that pairs stay together."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.embed_stego import Embedding, Method
from robxfer_core.jobs.run import Input, Inputs, LocalRun
from robxfer_core.science.data.artifact import Batch, load, read_card, write_shards
from robxfer_core.science.data.sources import open_source
from robxfer_core.science.data.subset import paired_split
from robxfer_core.science.stego import embed as stego
from robxfer_core.science.support import noise

KEY = "a" * 64


def photographs(n: int = 40, side: int = 32, channels: int = 3) -> torch.Tensor:
    """Smooth on the left, rough on the right, with black and white corners; uint8."""
    generator = torch.Generator().manual_seed(1)
    x = 60 + 3 * torch.arange(side).float().expand(n, channels, side, side).clone()
    x[..., side // 2 :] += 20 * torch.randn(n, channels, side, side // 2, generator=generator)
    x[..., :4, :4], x[..., -4:, :4] = 0, 255
    return x.clamp(0, 255).round().to(torch.uint8)


def embed(x: torch.Tensor, method: Method, payload: float, seed: int = 0) -> torch.Tensor:
    return stego.embed(x, Embedding(method=method, payload=payload), noise.image_seeds(seed, torch.arange(len(x))))


def make(source: Path, **params: Any) -> LocalRun:
    run = LocalRun()
    compute("embed_stego", {"dataset": KEY, **params}, Inputs({"dataset": [Input(source, KEY)]}), run)
    return run


def covers(folder: Path, x: torch.Tensor, *, lossless: bool | None = True) -> Path:
    folder.mkdir()
    y = np.arange(len(x)) % 5
    parts = {"train": [Batch(x.numpy(), y)], "test": [Batch(x[:10].numpy(), y[:10])]}
    write_shards(folder, name="made", variant="standard", classes=list("abcde"), splits=parts, lossless=lossless)
    return folder


@pytest.mark.parametrize("method", ["lsb_matching", "textured"])
@pytest.mark.parametrize("payload", [0.4, 1.0])
def test_no_pixel_changes_by_more_than_one_or_leaves_its_range(method: Method, payload: float):
    x = photographs()
    change = embed(x, method, payload)
    assert change.abs().max() == 1
    assert (change[x == 0] >= 0).all()
    assert (change[x == 255] <= 0).all()
    inside = change[(x > 0) & (x < 255)].double()
    changed = int(inside.abs().sum())
    assert abs(float(inside.sum())) < 5 * math.sqrt(changed)  # as many up as down


@pytest.mark.parametrize("payload", [0.1, 0.4, 1.0])
def test_lsb_matching_changes_half_of_what_carries_a_bit(payload: float):
    x = photographs()
    changed, n = int(embed(x, "lsb_matching", payload).abs().sum()), x.numel()
    expected = payload / 2
    assert abs(changed - n * expected) < 5 * math.sqrt(n * expected * (1 - expected))


def test_a_full_payload_makes_every_lowest_bit_the_messages():
    x = photographs()
    moved = x.to(torch.int16) + embed(x, "lsb_matching", 1.0)
    ones = float((moved & 1).double().mean())
    assert abs(ones - 0.5) < 5 * 0.5 / math.sqrt(x.numel())


def test_the_norm_of_a_full_payload_on_colour_images_of_32():
    rows = stego.measured(embed(photographs(), "lsb_matching", 1.0))
    # sqrt(32 * 32 * 3 / 2) / 255
    assert float(rows[:, 3].mean()) == pytest.approx(0.1537, abs=0.001)


@pytest.mark.parametrize("payload", [0.2, 0.7])
def test_textured_changes_carry_the_payload_where_the_texture_is(payload: float):
    x = photographs(8)
    up, down = stego.change_probabilities(x, payload)
    p = torch.stack([up, down, 1 - up - down])
    bits = -torch.special.xlogy(p, p).sum(0) / math.log(2)
    torch.testing.assert_close(
        bits.flatten(1).mean(1), torch.full((8,), payload, dtype=torch.float64), rtol=0, atol=1e-6
    )
    rate = embed(x, "textured", payload).abs().double().mean((0, 1, 2))
    assert rate[17:].mean() > 3 * rate[5:14].mean()
    # Of all ways to place changes of such costs this is the cheapest: equal ones cost more at the same payload.
    cost = stego.costs(x)
    free = (x > 0) & (x < 255)
    spent = ((up + down) * cost)[free].sum() / (up + down)[free].sum()
    assert spent < cost[free].mean() / 2


def test_equal_costs_change_as_many_pixels_as_ternary_coding_says():
    flat = torch.full((1, 1, 16, 16), 100, dtype=torch.uint8)
    up, down = stego.change_probabilities(flat, 1.0)
    torch.testing.assert_close(up, down)
    beta = float((up + down).mean())
    assert -beta * math.log2(beta / 2) - (1 - beta) * math.log2(1 - beta) == pytest.approx(1.0, abs=1e-6)
    assert 0.2 < beta < 0.25  # fewer than the .5 of LSB matching


def test_what_becomes_of_an_image_depends_on_its_place_alone():
    x = photographs(6)
    for method in ("lsb_matching", "textured"):
        whole = embed(x, method, 0.5)
        assert torch.equal(whole, embed(x, method, 0.5))
        part = stego.embed(x[4:], Embedding(method=method, payload=0.5), noise.image_seeds(0, torch.tensor([4, 5])))
        assert torch.equal(whole[4:], part)
        assert not torch.equal(whole, embed(x, method, 0.5, seed=1))


def test_a_set_holds_each_cover_beside_its_stego(tmp_path: Path):
    x = photographs(300, 8, 1)
    source = covers(tmp_path / "covers", x)
    run = make(source, payload=0.8, method="lsb_matching")
    for split, images in zip(stego.SPLITS, (x, x[:10]), strict=True):
        made = load(run.out, split)
        assert made.classes == ["cover", "stego"]
        assert made.y.tolist() == [0, 1] * len(images)
        assert torch.equal(made.x[::2], images)
        difference = made.x[1::2].int() - images.int()
        assert difference.abs().max() == 1
        assert made.original is not None
        assert made.original.tolist() == [i % 5 for i in range(len(images)) for _ in range(2)]
    result = json.loads((run.out / "result.json").read_text())
    changed = (load(run.out, "train").x[1::2] != x).double().mean()
    assert result["change"]["train"]["rate"] == pytest.approx(float(changed))
    assert result["change"]["train"]["max"] == pytest.approx(1 / 255)
    assert (make(source, payload=0.8).out / "train-00000.npz").read_bytes() == (
        run.out / "train-00000.npz"
    ).read_bytes()


def test_covers_that_were_or_may_have_been_jpegs_are_refused(tmp_path: Path):
    x = photographs(20, 8, 1)
    with pytest.raises(ValueError, match=r"decoded from JPEG; takes exact uint8"):
        make(covers(tmp_path / "jpeg", x, lossless=False), assume_lossless=True)
    unknown = covers(tmp_path / "unknown", x, lossless=None)
    with pytest.raises(ValueError, match="assume_lossless: true"):
        make(unknown)
    assert read_card(make(unknown, assume_lossless=True).out).variant == "stego"
    with pytest.raises(ValueError, match="float16; takes exact uint8"):
        make(covers(tmp_path / "floats", (x.float() / 255).half()))


@pytest.mark.parametrize(
    ("name", "suffix", "known"), [("photos", "jpg", False), ("drawings", "png", True), ("web", "webp", None)]
)
def test_sources_tell_by_their_files_what_is_lossless(tmp_path: Path, name: str, suffix: str, known: bool | None):
    for split, label in (("train", "a"), ("train", "b"), ("test", "a"), ("test", "b")):
        folder = tmp_path / name / split / label
        folder.mkdir(parents=True)
        (folder / f"1.{suffix}").touch()
    assert open_source(name, tmp_path, 0, False).lossless is known


def test_sources_of_arrays_are_lossless_where_they_are_known(tmp_path: Path):
    x, y = np.zeros((4, 8, 8), np.uint8), np.array([0, 1, 0, 1])
    for name in ("mnist", "somebodys"):
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    assert open_source("mnist", tmp_path, 0, False).lossless is True
    assert open_source("somebodys", tmp_path, 0, False).lossless is None
    assert open_source("digits", None, 0, False).lossless is True


def test_a_split_parts_no_pair():
    kept, held = paired_split(200, 0.3, 5)
    assert len(held) == 60
    assert sorted([*kept, *held]) == list(range(200))
    assert set(held // 2).isdisjoint(kept // 2)
    assert not np.array_equal(held, paired_split(200, 0.3, 6)[1])
