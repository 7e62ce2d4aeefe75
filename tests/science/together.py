"""One of several processes that compute together: `python -m tests.science.together FOLDER RANK SIZE`.

Takes what `test_distributed` left in the folder and leaves its own part there.
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from robxfer_core.jobs.run import Input, Inputs, LocalRun, Preempted
from robxfer_core.jobs.train import Train
from robxfer_core.science.training.distributed import SharedBatchNorm2d, Team
from robxfer_core.science.training.train import train


def normalise(folder: Path, name: str, team: Team) -> None:
    """Forward and backward through a shared batch norm, of this process's part of a batch."""
    batch = torch.load(folder / f"{name}.pt", weights_only=True)
    norm: nn.BatchNorm2d = batch_norm(batch["weight"], batch["bias"])
    norm.__class__ = SharedBatchNorm2d
    x = batch["parts"][team.rank].requires_grad_()
    out = norm(x)
    out.backward(batch["gradients"][team.rank])
    assert norm.weight.grad is not None
    assert norm.bias.grad is not None
    found = {"out": out.detach(), "x": x.grad, "weight": norm.weight.grad, "bias": norm.bias.grad, **norm.state_dict()}
    found |= {"weight": norm.weight.grad, "bias": norm.bias.grad}
    torch.save(found, folder / f"{name}-{team.rank}.pt")


def batch_norm(weight: torch.Tensor, bias: torch.Tensor) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(len(weight))
    norm.weight.data, norm.bias.data = weight.clone(), bias.clone()
    return norm


def main() -> None:
    folder, team = Path(sys.argv[1]), Team(int(sys.argv[2]), int(sys.argv[3]))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=team.rank, world_size=team.size)
    for batch in sorted(folder.glob("*.pt")):
        normalise(folder, batch.stem, team)
    for name, asked in json.loads((folder / "trainings.json").read_text()).items():
        run = LocalRun(folder / f"{name}-{team.rank}", stop_at=asked["stop_at"])
        run.rank, run.ranks = team.rank, team.size
        try:
            train(Train.model_validate(asked["spec"]), Inputs({"dataset": [Input(folder / "data", "0" * 64)]}), run)
        except Preempted:
            pass


if __name__ == "__main__":
    main()
