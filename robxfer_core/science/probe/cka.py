"""Linear CKA between two models' representations, in minibatches, without bias (Nguyen et al. 2021, section 2)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from robxfer_core.jobs.probe import CkaResult, Probe
from robxfer_core.jobs.results import DatasetName
from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.science import models

from .measure import images_of, model_card, represented


def cka(spec: Probe, inputs: Inputs, run: Run) -> CkaResult:
    """CKA of `model` and `other` on the same images, with a jackknife's standard error over the minibatches."""
    data, places = images_of(spec, inputs, "test")
    if len(places) < 4:
        raise ValueError(f"dataset: {len(places)} images; takes at least 4")
    x = data.x[places]
    both = [
        represented(models.load(inputs.one(field).path).to(run.device), x, spec.precision, run, f"images of {field}")
        for field in ("model", "other")
    ]
    hsic = batch_hsics(zip(*(part.double().split(spec.batch_size) for part in both), strict=True))
    found = score(hsic)
    without = (
        torch.stack([score(torch.cat([hsic[:i], hsic[i + 1 :]])) for i in range(len(hsic))]) if len(hsic) > 1 else None
    )
    error = None
    if without is not None and without.isfinite().all():
        error = float(((len(hsic) - 1) * without.var(correction=0)).sqrt())
    return CkaResult(
        measure="cka",
        cka=float(found) if found.isfinite() else None,
        error=error,
        batches=len(hsic),
        n=len(hsic) * min(spec.batch_size, len(places)),
        data=DatasetName(name=data.name, variant=data.variant),
        model=model_card(inputs.one("model")),
        other=model_card(inputs.one("other")),
    )


def batch_hsics(batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """HSIC1 of (K, L), (K, K) and (L, L) of each pair of representations [n, r1], [n, r2]: float64 [batches, 3].

    A last batch smaller than the others would weigh as much as they do, so it is left out.
    """
    found: list[Tensor] = []
    size = 0
    for x, y in batches:
        if len(x) < size:
            break
        size = len(x)
        k, other = x @ x.T, y @ y.T
        found.append(torch.stack([hsic1(k, other), hsic1(k, k), hsic1(other, other)]))
    return torch.stack(found)


def hsic1(k: Tensor, other: Tensor) -> Tensor:
    """The unbiased HSIC of two kernel matrices [n, n], n >= 4 (Song et al. 2012, equation 5)."""
    n = len(k)
    k, other = (matrix - matrix.diagonal().diag() for matrix in (k, other))
    trace = (k * other.T).sum()
    sums = k.sum() * other.sum() / ((n - 1) * (n - 2))
    return (trace + sums - 2 * (k.sum(0) @ other.sum(1)) / (n - 2)) / (n * (n - 3))


def score(hsic: Tensor) -> Tensor:
    """CKA from `batch_hsics`: means over batches first, then their ratio. NaN where a representation is constant."""
    cross, own, others = hsic.mean(0)
    return cross / (own * others).sqrt()
