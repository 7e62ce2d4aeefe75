"""Accuracy of the nearest neighbours: training features vote on test features."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robxfer_core.jobs.features import FeaturesResult
from robxfer_core.jobs.probe import KnnResult, Probe
from robxfer_core.jobs.run import Inputs, Run

CHUNK = 256
"""Test images whose distances to all training images are held at once."""


def knn(spec: Probe, inputs: Inputs, run: Run) -> KnnResult:
    """For each k the share of test images whose class wins the vote of the k nearest training images.

    Every neighbour has one vote; of classes with equally many the one whose first is nearest wins.
    """
    found = inputs.one("features").path
    about = FeaturesResult.read(found)
    x, y, test_x, test_y = (
        torch.from_numpy(np.load(found / f"{name}.npy", allow_pickle=False)).to(run.device)
        for name in ("train_x", "train_y", "test_x", "test_y")
    )
    if max(spec.k) > len(y):
        raise ValueError(f"k: {max(spec.k)} neighbours of {len(y)} training images")
    classes = about.data.classes
    right = torch.zeros(len(spec.k), dtype=torch.int64, device=x.device)
    for start in range(0, len(test_y), CHUNK):
        said = votes(x, y, test_x[start : start + CHUNK], sorted(spec.k), spec.metric, classes)
        right += (said == test_y[start : start + CHUNK]).sum(1)
        run.progress(min(start + CHUNK, len(test_y)), len(test_y), "images")
    shares = {str(k): int(count) / len(test_y) for k, count in zip(sorted(spec.k), right.tolist(), strict=True)}
    return KnnResult(
        measure="knn",
        accuracy=shares,
        interval={k: wilson(share, len(test_y)) for k, share in shares.items()},
        metric=spec.metric,
        n_train=len(y),
        n_test=len(test_y),
        data=about.data,
        model=about.model,
    )


def votes(x: Tensor, y: Tensor, asked: Tensor, k: list[int], metric: str, classes: int) -> Tensor:
    """What the nearest of x [N, r], of classes y [N], say of features [n, r]: int64 [len(k), n], k ascending."""
    if metric == "cosine":
        near = F.normalize(asked, dim=1) @ F.normalize(x, dim=1).T
    else:
        near = -torch.cdist(asked, x, compute_mode="donot_use_mm_for_euclid_dist")
    most = k[-1]
    neighbours = y[near.topk(most, dim=1).indices]
    ranks = torch.arange(most, device=x.device).expand_as(neighbours)
    first = torch.full((len(asked), classes), most, device=x.device).scatter_reduce(1, neighbours, ranks, "amin")
    said = []
    for count in k:
        part = neighbours[:, :count]
        ballots = torch.zeros(len(asked), classes, device=x.device)
        ballots.scatter_add_(1, part, torch.ones_like(part, dtype=ballots.dtype))
        said.append((ballots - first / (most + 1)).argmax(1))  # less than a vote
    return torch.stack(said)


def wilson(share: float, n: int) -> list[float]:
    """The 95 % interval of a proportion (Wilson 1927)."""
    z = 1.959964
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return [max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))]
