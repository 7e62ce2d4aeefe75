"""Draws of images that keep the classes' proportions."""

import heapq

import numpy as np

from robxfer_core.science.support.seeds import derive


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """An order of all images whose every prefix is stratified: subsets of it nest, whatever their sizes.

    labels: [n] integers. Returns [n] indices. In the first m of them, each class has less than one image more or less
    than its share of m. Which images of a class come first is random. Method: Tijdeman's chairman assignment (1980).
    """
    classes, counts = np.unique(labels, return_counts=True)
    rng = np.random.default_rng(derive(seed, "stratified_order"))
    members = [rng.permutation(np.flatnonzero(labels == label)) for label in classes]
    if len(classes) < 2:
        return np.concatenate([np.empty(0, np.int64), *members])
    ties = rng.permutation(len(classes))
    # The j-th image of a class may come from place N (j + s) / n_class on, and the earliest deadline,
    # N (j + 1 - s) / n_class, goes first; s = 1 / (2K - 2). All in integers, times 2K - 2.
    slack = 2 * len(classes) - 2
    total = len(labels)
    starts = sorted(
        (-(-total * (j * slack + 1) // (int(count) * slack)), k, j)
        for k, count in enumerate(counts)
        for j in range(count)
    )
    waiting: list[tuple[float, int, int, int]] = []
    order = np.empty(total, np.int64)
    at = 0
    for place in range(1, total + 1):
        while at < total and starts[at][0] <= place:
            _, k, j = starts[at]
            heapq.heappush(waiting, (total * ((j + 1) * slack - 1) / int(counts[k]), int(ties[k]), k, j))
            at += 1
        _, _, k, j = heapq.heappop(waiting)
        order[place - 1] = members[k][j]
    return order


def per_class(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """At most `count` images of each class, as sorted indices; a smaller draw of one seed is inside a larger one.

    labels: [n] integers. A class with fewer images gives all that it has.
    """
    rng = np.random.default_rng(derive(seed, "per_class"))
    drawn = [rng.permutation(np.flatnonzero(labels == label))[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate([np.empty(0, np.int64), *drawn]))


def paired_split(images: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two parts of a set of pairs, image 2i beside image 2i + 1, as sorted indices: the rest, and the pairs held out.

    A pair is never parted: of a cover that was learnt from, the stego would be no new image.
    """
    order = np.random.default_rng(derive(seed, "paired_split")).permutation(images // 2)
    held = round(fraction * len(order))
    parts = (np.sort(part) for part in (order[held:], order[:held]))
    rest, out = (np.stack([2 * part, 2 * part + 1], 1).ravel() for part in parts)
    return rest, out


def held_out(labels: np.ndarray, fraction: float, seed: int, *, paired: bool) -> tuple[np.ndarray, np.ndarray]:
    """What a training keeps and what it holds out: `paired_split` of pairs, else `stratified_split`."""
    return paired_split(len(labels), fraction, seed) if paired else stratified_split(labels, fraction, seed)


def stratified_split(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two stratified parts of the images, as sorted indices: the rest, and round(fraction * n) held out."""
    order = stratified_order(labels, seed)
    held = round(fraction * len(labels))
    return np.sort(order[held:]), np.sort(order[:held])
