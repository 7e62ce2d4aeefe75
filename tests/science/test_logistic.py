import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from robxfer_core.science.transfer.logistic import Solution, asymptote, axes, solve


def problem(n: int, width: int, classes: int, apart: float) -> tuple[Tensor, Tensor]:
    """Features of uneven scale, correlated, around one centre a class."""
    generator = torch.Generator().manual_seed(3)
    y = torch.randint(classes, (n,), generator=generator)
    centres = apart * torch.randn(classes, width, generator=generator)
    mix = torch.randn(width, width, generator=generator) * torch.logspace(0, -2, width)
    return (centres[y] + torch.randn(n, width, generator=generator)) @ mix + 2.0, y


def objective(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, l2: float) -> float:
    return float(torch.nn.functional.cross_entropy(x @ weight.T + bias, y) + l2 / 2 * weight.square().sum())


@pytest.mark.parametrize("apart", [0.1, 3.0], ids=["mixed", "separable"])
@pytest.mark.parametrize(("n", "width", "classes"), [(200, 6, 2), (300, 20, 5), (40, 60, 3)])
@pytest.mark.parametrize("l2", [0.1, 1e-4])
def test_reaches_the_minimum_of_scikit_learn(apart: float, n: int, width: int, classes: int, l2: float):
    x, y = problem(n, width, classes, apart)
    at = axes(x)
    ours = solve(at, y, classes, l2)
    assert ours.converged
    # the loss it reports is that of its weights, in the features' own coordinates
    weight = (at.rotation @ ours.weights[:-1]).T
    bias = ours.weights[-1] - weight @ at.mean
    assert objective(x.double(), y, weight, bias, l2) == pytest.approx(ours.loss, rel=1e-6)
    # scikit-learn has one logit for two classes: the same model at half the penalty
    strength = 1 / (n * l2) * (2 if classes == 2 else 1)
    peer = LogisticRegression(C=strength, solver="newton-cg", tol=1e-10, max_iter=10_000).fit(
        x.double().numpy(), y.numpy()
    )
    theirs, offset = torch.from_numpy(peer.coef_), torch.from_numpy(peer.intercept_)
    if classes == 2:
        theirs, offset = torch.cat([-theirs, theirs]) / 2, torch.cat([-offset, offset]) / 2
    assert ours.loss == pytest.approx(objective(x.double(), y, theirs, offset, l2), rel=1e-6)


def test_a_warm_start_ends_at_the_same_minimum():
    x, y = problem(200, 10, 4, 1.0)
    at = axes(x)
    warm = solve(at, y, 4, 1e-3, start=solve(at, y, 4, 0.1))
    assert isinstance(warm, Solution)
    assert warm.loss == pytest.approx(solve(at, y, 4, 1e-3).loss, rel=1e-7)


@pytest.mark.parametrize("standardised", [False, True])
def test_the_asymptote_does_not_depend_on_a_common_scale_and_shift(standardised: bool):
    x, y = problem(400, 8, 3, 0.5)
    fit, held, test = torch.arange(250), torch.arange(250, 300), torch.arange(300, 400)
    one = asymptote(x[:300], y[:300], fit, held, x[test], y[test], 3, standardised)
    other = asymptote(100 * x[:300] - 7, y[:300], fit, held, 100 * x[test] - 7, y[test], 3, standardised)
    assert one.converged
    assert one.l2 == other.l2
    assert (one.correct == other.correct).float().mean() > 0.98


def test_features_without_spread_predict_the_commonest_class():
    y = torch.tensor([0, 1, 1, 1, 0, 1, 1, 1, 0, 1])
    x = torch.full((10, 4), 0.3)
    parts = torch.arange(0, 7), torch.arange(7, 10)
    found = asymptote(x, y, *parts, x, y, 2, True)
    assert float(found.correct.float().mean()) == pytest.approx(0.7)
