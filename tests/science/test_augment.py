"""Augmentation: crops, windows and flips are parts of the image, by seeds of its own."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from robxfer_core.science.data.augment import augment, center_crop, random_flip, random_resized_crop
from robxfer_core.science.support.noise import image_seeds
from robxfer_core.spec.fields import Augment


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


def windows(x: Tensor, size: int, seed: int = 0, **how: Any) -> Tensor:
    return random_resized_crop(x, size, image_seeds(seed, torch.arange(len(x))), **how)


def test_a_window_of_the_whole_image_is_the_image_resized():
    x = torch.rand(3, 2, 9, 9)
    torch.testing.assert_close(windows(x, 9, scale=(1, 1), ratio=(1, 1)), x)
    resized = F.interpolate(x, (14, 14), mode="bilinear", align_corners=False)
    torch.testing.assert_close(windows(x, 14, scale=(1, 1), ratio=(1, 1)), resized)


def test_a_window_is_a_crop_resized_and_shows_nothing_outside_it():
    """In an image of its own coordinates, a window's corners tell where it lies; cut and resized it is the same."""
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    x = torch.stack((rows, columns)).expand(200, 2, 40, 40).contiguous()
    found = windows(x, 80)
    tall, wide = [], []
    for image in found:
        # Two thirds magnified at least, a window's first and last output pixel lie on its edge pixels.
        top, left = (round(float(image[axis].min())) for axis in (0, 1))
        bottom, right = (round(float(image[axis].max())) + 1 for axis in (0, 1))
        cut = F.interpolate(x[:1, :, top:bottom, left:right], (80, 80), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(image, cut, atol=1e-3, rtol=0)
        tall.append(bottom - top)
        wide.append(right - left)
    area = torch.tensor(tall) * torch.tensor(wide) / 1600
    aspect = torch.tensor(wide) / torch.tensor(tall)
    assert 0.06 < area.min() < 0.2
    assert 0.8 < area.max() <= 1
    assert 0.7 < aspect.min() < 0.85
    assert 1.2 < aspect.max() < 1.42


def test_windows_and_flips_follow_from_the_images_own_seeds():
    x = torch.rand(64, 1, 12, 12)
    seeds = image_seeds(5, torch.arange(64))
    for change in (lambda a, s: random_resized_crop(a, 12, s), random_flip):
        whole = change(x, seeds)
        assert torch.equal(whole[10:20], change(x[10:20], seeds[10:20]))
        assert not torch.equal(whole, change(x, image_seeds(6, torch.arange(64))))
    flipped = random_flip(x, seeds)
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(flipped, x, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(flipped, x, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 20 < sum(mirrored) < 44


def test_the_centre_of_256_is_224():
    x = torch.arange(256).expand(1, 1, 256, 256)
    assert center_crop(x).shape == (1, 1, 224, 224)
    assert center_crop(x)[0, 0, 0, [0, -1]].tolist() == [16, 239]
    assert [center_crop(torch.zeros(1, 1, n, n)).shape[-1] for n in (8, 24, 32)] == [7, 21, 28]
