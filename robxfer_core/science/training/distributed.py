"""One training by several processes: each takes its share of every batch, and all of them take the same step."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Team:
    """The processes that compute a job together, and which of them this is; `Team()` is one alone.

    Of more than one, each has joined torch's default process group, and calls what is here as often as the others.
    """

    rank: int = 0
    size: int = 1

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch [n, ...]: consecutive, of sizes that differ by one at most, perhaps empty."""
        return batch if self.size == 1 else batch.tensor_split(self.size)[self.rank]

    def sum(self, value: Tensor) -> Tensor:
        """The sum of what all have, equal to the bit on each."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def agree(self, *flags: bool) -> list[bool]:
        """What the first process says, on each of them."""
        if self.size == 1:
            return list(flags)
        said = torch.tensor(flags)
        dist.broadcast(said, 0)  # on the CPU: no device is waited for
        return said.tolist()

    def trained(self, network: nn.Module) -> nn.Module:
        """The network as a training step calls it, from weights that are equal on all.

        Its gradients are averaged over the processes, and its batch norm sees all of the batch. Weights, buffers and
        their names stay those of the network itself.
        """
        if self.size == 1:
            return network
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__ = SharedBatchNorm2d
        return DistributedDataParallel(network, broadcast_buffers=False)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of a batch that is spread over the processes. (torch's own SyncBatchNorm refuses the CPU.)"""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        out, mean, variance = _Normalise.apply(input, self.weight, self.bias, self.eps)
        assert self.momentum is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
        return out


class _Normalise(torch.autograd.Function):
    """x [n, C, H, W] of this process to its normalised values, and the whole batch's mean and unbiased variance [C].

    The processes' moments are merged as by Chan, Golub, LeVeque 1983, which cancels no digits. The gradient is that of
    the sum of all processes' losses.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        channels, wide = x.shape[1], x.float()
        n = x.numel() // channels
        mean = wide.sum((0, 2, 3)) / max(n, 1)
        squares = (wide - _channel(mean)).square_().sum((0, 2, 3))
        # A sum over zeros and one's own row gives everybody all rows, by the one operation that all backends have.
        rows = mean.new_zeros(dist.get_world_size(), 2 * channels + 1)
        rows[dist.get_rank()] = torch.cat((mean, squares, mean.new_tensor([n])))
        dist.all_reduce(rows)
        means, squares, counts = rows.split((channels, channels, 1), 1)
        count = counts.sum()
        mean = (counts * means).sum(0) / count
        summed = (squares + counts * (means - mean).square()).sum(0)
        variance = summed / count
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt(), count)
        unbiased = summed / (count - 1)
        ctx.mark_non_differentiable(mean, unbiased)
        return F.batch_norm(x, mean, variance, weight, bias, eps=eps), mean, unbiased

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, inverse, count = ctx.saved_tensors
        gradient: Tensor = gradients[0].float()
        normal = (x.float() - _channel(mean)) * _channel(inverse)
        of_bias, of_weight = gradient.sum((0, 2, 3)), (gradient * normal).sum((0, 2, 3))
        both = torch.stack((of_bias, of_weight))
        dist.all_reduce(both)
        all_bias, all_weight = (_channel(each / count) for each in both)
        of_x = _channel(weight * inverse) * (gradient - all_bias - normal * all_weight)
        return of_x.to(x.dtype), of_weight, of_bias, None


def _channel(value: Tensor) -> Tensor:
    """[C] as it is multiplied with [n, C, H, W]."""
    return value.view(1, -1, 1, 1)
