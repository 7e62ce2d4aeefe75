"""Linear heads on a fixed representation, many of them trained together as one batched computation.

Each head goes the way of torch.optim.SGD on torch.nn.Linear: cross-entropy averaged over a batch, momentum
without dampening, weight decay on weights and bias alike, a last batch that may be smaller. The gradient is written out
(softmax - one-hot), so that a step is nine tensor operations for all heads, with no autograd and no synchronisation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from robxfer_core.science.support.schedule import rate
from robxfer_core.science.support.seeds import derive
from robxfer_core.spec.fields import Schedule

CHUNK = 2**24
"""Floats of gathered training features held at once (64 MiB)."""
CONSTANT = 1e-6
"""A feature whose deviation is below this fraction of the largest one counts as constant."""


@dataclass(frozen=True)
class Head:
    """One head to train."""

    images: Tensor
    """[n] int64: the training images it learns from; an epoch is one pass over them."""
    lr: float
    weight_decay: float
    seed: int
    """Drives the start and the order of the batches: heads of one seed and n see the same batches."""
    standardised: bool = False
    """Learn on features standardised by the mean and deviation of the head's own training images."""


@dataclass(frozen=True)
class Trained:
    """What became of a head, on the CPU."""

    weight: Tensor
    """[K, r], of the features as given (a standardisation is folded in)."""
    bias: Tensor
    """[K]"""
    early: tuple[Tensor, Tensor]
    """Weight and bias after the first epoch."""
    train_loss: list[float]
    """For each epoch, the mean cross-entropy of its batches, each before its step."""
    test: list[float]
    """Accuracy after each epoch on the test images."""
    correct_first: Tensor
    """[m] bool: which test images are right after the first epoch."""
    correct_last: Tensor

    def predict(self, x: Tensor, *, first: bool = False) -> Tensor:
        """Classes [n] of features [n, r] by the head after its last epoch, or its first; on the CPU."""
        weight, bias = self.early if first else (self.weight, self.bias)
        return (x @ weight.T + bias).argmax(1)


@dataclass
class Group:
    """Heads that train together, between two epochs."""

    weights: Tensor
    """[H, r + 1, K], of the features as each head sees them; the last row is the bias."""
    velocity: Tensor
    losses: list[Tensor] = field(default_factory=list)
    """[H] for each epoch done, as `right`: accuracies on the test images."""
    right: list[Tensor] = field(default_factory=list)
    correct: Tensor = field(default_factory=lambda: torch.empty(0))
    """[H, m] after the last epoch done, as `first` after the first."""
    first: Tensor = field(default_factory=lambda: torch.empty(0))
    early: Tensor = field(default_factory=lambda: torch.empty(0))
    """[H, r + 1, K] after the first epoch, for the features as given."""

    def to(self, device: str) -> "Group":
        """The same on a device."""
        moved: dict[str, Any] = {
            name: [each.to(device) for each in value] if isinstance(value, list) else value.to(device)
            for name, value in vars(self).items()
        }
        return Group(**moved)


@dataclass
class HeadsState:
    """What `train_heads` goes on from: the groups that are done, in their order, and the one that is not."""

    done: list[list[Trained]] = field(default_factory=list)
    group: Group | None = None


@dataclass(frozen=True)
class LabelledFeatures:
    """Features [n, r] float32 and labels [n] int64, on the device to train on."""

    x: Tensor
    y: Tensor


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and 1/deviation of each feature of x [n, r], in float64; a constant feature gets 0, and so drops out."""
    wide = x.double()
    deviation = wide.std(0, correction=0)
    varies = deviation > CONSTANT * deviation.max()
    return wide.mean(0), torch.where(varies, 1 / deviation.clamp_min(torch.finfo(torch.float64).tiny), 0.0)


def train_heads(
    train: LabelledFeatures,
    test: LabelledFeatures,
    classes: int,
    heads: Sequence[Head],
    *,
    epochs: int,
    batch_size: int,
    momentum: float = 0.9,
    schedule: Schedule | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    state: HeadsState | None = None,
) -> list[Trained]:
    """Train every head; those with equally many images together, so that an epoch is an epoch for each of them.

    The result depends on a head alone, up to the rounding of sums, not on those it is trained with. `progress` is told
    of epochs done and in all, a group's one after another's. `state` is kept up to date by the epoch, so that
    `progress` may save it; a later call with the same heads and that state goes on from there, to the same bits.
    """
    groups: dict[int, list[int]] = {}
    for index, head in enumerate(heads):
        groups.setdefault(len(head.images), []).append(index)
    state = state or HeadsState()
    for before, members in list(enumerate(groups.values()))[len(state.done) :]:
        results = _train_group(
            train,
            test,
            classes,
            [heads[index] for index in members],
            epochs,
            batch_size,
            momentum,
            schedule or Schedule(kind="constant"),
            lambda epoch, before=before: progress(before * epochs + epoch, len(groups) * epochs),
            state,
        )
        state.done, state.group = [*state.done, results], None
    indices = [index for members in groups.values() for index in members]
    trained = dict(zip(indices, [head for group in state.done for head in group], strict=True))
    return [trained[index] for index in range(len(heads))]


def _train_group(
    train: LabelledFeatures,
    test: LabelledFeatures,
    classes: int,
    heads: list[Head],
    epochs: int,
    batch_size: int,
    momentum: float,
    schedule: Schedule,
    progress: Callable[[int], None],
    state: HeadsState,
) -> list[Trained]:
    device, count, n, width = train.x.device, len(heads), len(heads[0].images), train.x.shape[1]
    x, test_x = _with_ones(train.x), _with_ones(test.x)
    images = torch.stack([head.images.cpu() for head in heads])
    shift, scale = _standardisation(train.x, heads)
    lr = torch.tensor([head.lr for head in heads], device=device).view(-1, 1, 1)
    decay = torch.tensor([head.weight_decay for head in heads], device=device).view(-1, 1, 1)
    if state.group is None:
        start = torch.stack([head_start(head.seed, width, classes) for head in heads]).to(device)
        state.group = Group(start, torch.zeros_like(start))
    group = state.group
    weights, velocity = group.weights, group.velocity
    minus_one = torch.full((count, batch_size, 1), -1.0, device=device)
    chunk = max(1, CHUNK // (count * (width + 1) * batch_size)) * batch_size
    steps = -(-n // batch_size)
    for epoch in range(len(group.losses), epochs):
        step = epoch * steps
        order = images.gather(1, _orders(heads, n, epoch)).to(device, non_blocking=True)
        log_likelihoods = []
        for picked in order.split(chunk, dim=1):
            features = x.index_select(0, picked.flatten()).view(count, -1, width + 1).sub_(shift).mul_(scale)
            targets = train.y.index_select(0, picked.flatten()).view(count, -1, 1)
            for xb, yb in zip(features.split(batch_size, 1), targets.split(batch_size, 1), strict=True):
                size = yb.shape[1]
                gradient = torch.log_softmax(torch.bmm(xb, weights), 2)
                log_likelihoods.append(gradient.gather(2, yb))
                gradient.exp_().scatter_add_(2, yb, minus_one[:, :size])
                velocity.baddbmm_(xb.mT, gradient, beta=momentum, alpha=1 / size).addcmul_(weights, decay)
                weights.addcmul_(velocity, lr, value=-rate(schedule, step / (epochs * steps)))
                step += 1
        group.losses.append(-torch.cat(log_likelihoods, 1).mean((1, 2)))
        folded = _folded(weights, shift, scale)
        group.correct = _predict(test_x, folded) == test.y
        group.right.append(group.correct.float().mean(1))
        if epoch == 0:
            group.first, group.early = group.correct, folded
        progress(epoch + 1)
    final, early = _folded(weights, shift, scale).cpu(), group.early.cpu()
    curves = zip(torch.stack(group.losses, 1).tolist(), torch.stack(group.right, 1).tolist(), strict=True)
    return [
        Trained(
            *_weight_and_bias(final[index]),
            _weight_and_bias(early[index]),
            loss,
            accuracy,
            group.first[index].cpu(),
            group.correct[index].cpu(),
        )
        for index, (loss, accuracy) in enumerate(curves)
    ]


def _weight_and_bias(folded: Tensor) -> tuple[Tensor, Tensor]:
    """[K, r] and [K] of [r + 1, K]."""
    return folded[:-1].mT.contiguous(), folded[-1]


def _with_ones(x: Tensor) -> Tensor:
    """x [n, r] with a last column of ones, whose weights are the bias."""
    return torch.cat((x, x.new_ones(len(x), 1)), 1)


def head_start(seed: int, width: int, classes: int) -> Tensor:
    """torch.nn.Linear's start, uniform within 1/sqrt(r), weights [r, K] and bias as last row; drawn on the CPU."""
    generator = torch.Generator().manual_seed(derive(seed, "head", "start"))
    return (2 * torch.rand(width + 1, classes, generator=generator) - 1) / width**0.5


def _orders(heads: list[Head], n: int, epoch: int) -> Tensor:
    """[H, n]: the order in which each head sees its images in an epoch."""
    drawn = {
        seed: torch.randperm(n, generator=torch.Generator().manual_seed(derive(seed, "head", "order", epoch)))
        for seed in {head.seed for head in heads}
    }
    return torch.stack([drawn[head.seed] for head in heads])


def _standardisation(x: Tensor, heads: list[Head]) -> tuple[Tensor, Tensor]:
    """Shift and scale, each [H, 1, r + 1], that leave raw heads and the column of ones as they are."""
    shift = torch.zeros(len(heads), 1, x.shape[1] + 1, device=x.device)
    scale = torch.ones_like(shift)
    for index, head in enumerate(heads):
        if head.standardised:
            shift[index, 0, :-1], scale[index, 0, :-1] = moments(x[head.images.to(x.device)])
    return shift, scale


def _folded(weights: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Weights [H, r + 1, K] for the features as given: (x - shift) * scale @ w = x @ (scale * w) - shift * scale @ w.

    The shift of the column of ones is 0, so its row takes the constant.
    """
    folded = weights * scale.mT
    folded[:, -1:] -= torch.bmm(shift, folded)
    return folded


def _predict(x: Tensor, weights: Tensor) -> Tensor:
    """[H, m] classes predicted for x [m, r + 1], by one product a slice of images."""
    count, _, classes = weights.shape
    flat = weights.permute(1, 0, 2).reshape(-1, count * classes)
    return torch.cat([(part @ flat).view(-1, count, classes).argmax(2) for part in x.split(4096)]).mT
