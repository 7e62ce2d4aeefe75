"""Grids of pictures: what is drawn is what is there, at the factor that is said, with equal bytes."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robxfer_core.reports.pictures import GAP, Row, grid, picture
from robxfer_core.science.support.gallery import magnified, write_examples


def test_a_small_difference_is_magnified_to_what_can_be_seen_and_no_farther() -> None:
    one_level = torch.zeros(2, 3, 8, 8)
    one_level[:, :, ::2] = 1 / 255
    drawn, factor = magnified(one_level)
    assert factor == 100  # 200 / 255 would leave [-.5, .5]
    torch.testing.assert_close(drawn[:, :, 0], torch.full((2, 3, 8), 0.5 + 100 / 255))
    assert bool((drawn[:, :, 1] == 0.5).all())
    sparse = torch.zeros(1, 1, 64, 64)
    sparse[0, 0, 3, 3] = -0.2
    assert magnified(sparse)[1] == 2
    unmoved, factor = magnified(torch.zeros(1, 1, 4, 4))
    assert (factor, float(unmoved.min()), float(unmoved.max())) == (1, 0.5, 0.5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 224, 224)])
def test_pictures_keep_their_pixels(shape: tuple[int, int, int]) -> None:
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    side = 2 * shape[1]
    drawn = np.asarray(picture(image.numpy(), side)).astype(int)
    assert drawn.shape == (side, side, 3)
    wanted = (image * 255).round().int().expand(3, -1, -1).permute(1, 2, 0).numpy()
    assert np.array_equal(drawn[::2, ::2], wanted)


def test_examples_show_both_images_and_both_labels(tmp_path: Path) -> None:
    before = torch.randint(0, 256, (12, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    after = (before.float() / 255 * 0.5).half()
    y = torch.arange(12) % 3
    write_examples(tmp_path, before, after, y, (y + 1) % 3, ["a", "b", "a class whose name is far too long to fit"])
    first = (tmp_path / "examples.png").read_bytes()
    write_examples(tmp_path, before, after, y, (y + 1) % 3, ["a", "b", "a class whose name is far too long to fit"])
    assert (tmp_path / "examples.png").read_bytes() == first
    write_examples(tmp_path, before, after, y, y, ["a", "b", "a class whose name is far too long to fit"])
    assert (tmp_path / "examples.png").read_bytes() != first  # the labels under the second row
    shown = np.asarray(Image.open(io.BytesIO(first)))
    tile = 96
    right = shown[:, -GAP - tile : -GAP]  # the eighth image
    wanted = np.repeat(np.repeat(before[7, 0].numpy(), 12, 0), 12, 1)
    assert np.array_equal(right[GAP : GAP + tile, :, 0], wanted)


def test_rows_of_unequal_length_and_titles_of_any_length_are_drawn_whole() -> None:
    images = np.zeros((3, 3, 16, 16), np.float32)
    rows = [Row("a title\nof three\nlines", images), Row("a longer title than the others", images[:1], ["caption"])]
    shown = np.asarray(Image.open(io.BytesIO(grid(rows, ["left", "middle", "right"]))))
    assert bool((shown[:, 0] == 255).all())
    assert bool((shown[:, -GAP:] == 255).all())
    assert bool((shown[-2:] == 255).all())
