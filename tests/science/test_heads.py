import pytest
import torch
from torch import Tensor, nn

from robxfer_core.science.support.schedule import rate
from robxfer_core.science.support.seeds import derive
from robxfer_core.science.transfer.linear_heads import Head, LabelledFeatures, Trained, head_start, moments, train_heads
from robxfer_core.spec.fields import Schedule

CLASSES = 4


def clusters(n: int, seed: int, width: int = 7) -> LabelledFeatures:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, width, generator=torch.Generator().manual_seed(99))
    y = torch.randint(CLASSES, (n,), generator=generator)
    return LabelledFeatures(centres[y] + 0.8 * torch.randn(n, width, generator=generator) + 3.0, y)


TRAIN, TEST = clusters(130, 1), clusters(60, 2)
STEP = Schedule(kind="step", milestones=[0.25, 0.5])


def naive(
    head: Head, epochs: int, batch_size: int, momentum: float, schedule: Schedule
) -> tuple[nn.Linear, list[float], Tensor]:
    """One head by torch.nn.Linear, autograd and torch.optim.SGD; the model is for features as the head sees them."""
    x, y = TRAIN.x[head.images], TRAIN.y[head.images]
    test = TEST.x
    if head.standardised:
        mean, deviation = x.mean(0), x.std(0, correction=0)
        x, test = (x - mean) / deviation, (test - mean) / deviation
    model = nn.Linear(x.shape[1], CLASSES)
    start = head_start(head.seed, x.shape[1], CLASSES)
    model.load_state_dict({"weight": start[:-1].T, "bias": start[-1]})
    optimizer = torch.optim.SGD(model.parameters(), lr=head.lr, momentum=momentum, weight_decay=head.weight_decay)
    losses, predicted = [], []
    steps = len(range(0, len(y), batch_size))
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(derive(head.seed, "head", "order", epoch))
        total = 0.0
        for index, batch in enumerate(torch.randperm(len(y), generator=generator).split(batch_size)):
            optimizer.param_groups[0]["lr"] = head.lr * rate(schedule, (epoch * steps + index) / (epochs * steps))
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        losses.append(total / len(y))
        predicted.append(model(test).argmax(1) == TEST.y)
    return model, losses, torch.stack(predicted)


def heads() -> list[Head]:
    whole, part = torch.arange(130), torch.arange(0, 130, 3)
    return [
        Head(whole, 0.01, 5e-4, seed=0),
        Head(whole, 0.1, 0.0, seed=1, standardised=True),
        Head(part, 0.02, 0.01, seed=0),
        Head(part, 0.05, 0.0, seed=0, standardised=True),
        Head(whole, 0.003, 0.1, seed=0, standardised=True),
    ]


def train(chosen: list[Head], batch_size: int = 32, schedule: Schedule = STEP) -> list[Trained]:
    return train_heads(TRAIN, TEST, CLASSES, chosen, epochs=8, batch_size=batch_size, momentum=0.9, schedule=schedule)


@pytest.mark.parametrize("batch_size", [32, 500, 1])  # 130 = 4 * 32 + 2: the last batch is smaller
@pytest.mark.parametrize("schedule", [STEP, Schedule(warmup=0.2)], ids=["step", "cosine"])
def test_equals_a_plain_loop(batch_size: int, schedule: Schedule):
    for head, got in zip(heads(), train(heads(), batch_size, schedule), strict=True):
        model, losses, correct = naive(head, 8, batch_size, 0.9, schedule)
        torch.testing.assert_close(torch.tensor(got.train_loss), torch.tensor(losses), rtol=1e-4, atol=1e-5)
        scores = TEST.x @ got.weight.T + got.bias
        test = TEST.x
        if head.standardised:
            seen = TRAIN.x[head.images]
            test = (test - seen.mean(0)) / seen.std(0, correction=0)
        torch.testing.assert_close(scores, model(test).detach(), rtol=1e-3, atol=1e-3)
        assert torch.equal(got.correct_first, correct[0])
        assert torch.equal(got.correct_last, correct[-1])
        assert got.test == pytest.approx(correct.float().mean(1).tolist())


def test_a_head_does_not_depend_on_its_company():
    together = train(heads())
    for head, expected in zip(heads(), together, strict=True):
        (alone,) = train([head])
        torch.testing.assert_close(alone.weight, expected.weight, rtol=1e-4, atol=1e-5)


def test_is_deterministic():
    for one, other in zip(train(heads()), train(heads()), strict=True):
        assert torch.equal(one.weight, other.weight)
        assert torch.equal(one.bias, other.bias)
        assert one.train_loss == other.train_loss


def test_small_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    expected = train(heads())
    monkeypatch.setattr("robxfer_core.science.transfer.linear_heads.CHUNK", 1)
    for one, other in zip(train(heads()), expected, strict=True):
        assert torch.equal(one.weight, other.weight)


def test_a_constant_feature_drops_out():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 0.1
    mean, inverse = moments(x)
    assert inverse[1] == 0
    torch.testing.assert_close((x - mean).mul(inverse).std(0, correction=0), torch.tensor([1.0, 0.0, 1.0]).double())
    assert torch.equal(moments(torch.zeros(5, 2))[1], torch.zeros(2).double())


def test_schedules():
    step = Schedule(kind="step", milestones=[1 / 3, 2 / 3])
    assert [rate(step, e / 60) for e in (0, 19, 20, 39, 40, 59)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    cosine = Schedule(kind="cosine", warmup=0.5)
    assert [rate(cosine, d) for d in (0, 0.25, 0.5, 0.75)] == pytest.approx([0, 0.5, 1, 0.5])
    assert rate(Schedule(kind="constant"), 0.9) == 1
