"""The parts of a training, by known answers: loss, average, rates, batches, moments."""

import math
from typing import Any

import pytest
import torch

from robxfer_core.jobs.run import LocalRun
from robxfer_core.jobs.train import Train
from robxfer_core.science import models
from robxfer_core.science.support.batches import channel_moments, epoch_batches
from robxfer_core.science.training.adversarial import step
from robxfer_core.science.training.distributed import Team
from robxfer_core.science.training.state import TrainingState
from robxfer_core.science.training.train import train_epoch

from .training import spec_of


def tiny_state(spec: Train) -> TrainingState:
    network = models.build(spec.arch, 3, 1, 8, [0.5], [0.5], 0)
    return TrainingState.start(network, spec.optimizer, averaged=spec.ema is not None, team=Team())


def test_label_smoothing_is_a_mixture_with_the_uniform() -> None:
    spec = spec_of(label_smoothing=0.3)
    state = tiny_state(spec)
    state.network.eval()
    x, y = torch.rand(6, 1, 8, 8), torch.arange(6) % 3
    logp = state.network(x).detach().log_softmax(1)
    expected = (0.7 * -logp[torch.arange(6), y] + 0.3 * -logp.mean(1)).mean()
    torch.testing.assert_close(step(spec, state, x, y, torch.arange(6), 6), expected)


def test_a_bf16_step_after_an_attack_reaches_every_weight() -> None:
    spec = spec_of(precision="bf16", threat={"eps": 0.5})
    state = tiny_state(spec)
    loss = step(spec, state, torch.rand(6, 1, 8, 8), torch.arange(6) % 3, torch.arange(6), 6)
    assert loss.dtype == torch.float32
    for name, weight in state.network.named_parameters():
        assert weight.dtype == torch.float32
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name


def test_the_average_is_plain_first_and_exponential_then() -> None:
    state = tiny_state(spec_of(ema=0.75))
    assert state.average is not None
    bias, counter = state.network.head.bias.data, state.network.body.get_buffer("layer1.0.bn1.num_batches_tracked")
    seen = []
    for taken, value in enumerate([8.0, 4.0, 0.0, 8.0, 0.0, 16.0], start=1):
        bias.fill_(value)
        counter.fill_(taken)
        state.update_average(0.75, taken)
        seen.append(state.average.head.bias[0].item())
    assert seen == pytest.approx([8, 6, 4, 5, 3.75, 0.75 * 3.75 + 4])
    assert state.published is state.average
    assert int(state.average.body.get_buffer("layer1.0.bn1.num_batches_tracked")) == 6


class Rates(LocalRun):
    """Notes the learning rate that each step was taken with."""

    state: TrainingState

    def progress(self, done: int, total: int, unit: str) -> None:
        self.rates = [*getattr(self, "rates", []), self.state.optimizer.param_groups[0]["lr"]]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"kind": "constant"}, [1] * 8),
        ({"kind": "cosine"}, [(1 + math.cos(math.pi * i / 8)) / 2 for i in range(8)]),
        ({"kind": "step", "milestones": [0.25, 0.5], "factor": 0.1}, [1, 1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01]),
        ({"kind": "constant", "warmup": 0.5}, [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]),
    ],
)
def test_the_rate_follows_its_schedule_step_by_step(schedule: dict[str, Any], expected: list[float]) -> None:
    spec = spec_of(batch_size=4, optimizer={"lr": 0.5, "schedule": schedule})
    run = Rates()
    run.state = state = tiny_state(spec)
    x, y = torch.randint(256, (16, 1, 8, 8), dtype=torch.uint8), torch.arange(16) % 3
    for epoch in range(2):
        state.epoch, state.step = epoch, 0
        train_epoch(spec, state, x, y, epoch_batches(torch.arange(16), 4, epoch), run)
    assert run.rates == pytest.approx([0.5 * factor for factor in expected])


def test_batches_hold_each_image_once() -> None:
    places = torch.arange(10, 43)
    for size, sizes in ((8, [8, 8, 8, 8]), (10, [10, 10, 10, 3]), (100, [33])):
        batches = epoch_batches(places, size, 5)
        assert list(map(len, batches)) == sizes  # of 8: the last image alone is left out
        assert len(torch.cat(batches).unique()) == sum(sizes)
    assert not torch.equal(torch.cat(epoch_batches(places, 100, 6)), torch.cat(epoch_batches(places, 100, 5)))


def test_channel_moments_are_those_of_numpy() -> None:
    x = torch.randint(256, (3000, 3, 4, 4), dtype=torch.uint8)
    x[:, 1] = 51
    kept = torch.arange(0, 3000, 2)
    mean, std = channel_moments(x, kept)
    unit = x[kept].numpy() / 255
    assert mean == pytest.approx(unit.mean((0, 2, 3)).tolist())
    assert std == pytest.approx([unit[:, 0].std(), 1 / 255, unit[:, 2].std()])
