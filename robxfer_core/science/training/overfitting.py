"""Catastrophic overfitting of single-step adversarial training (Wong et al. 2020, section 5): noticed and said."""

from collections.abc import Sequence

import torch
from torch import Tensor

from robxfer_core.jobs.run import Run
from robxfer_core.jobs.train import Overfitting, Train
from robxfer_core.science.attacks.evaluate import correct
from robxfer_core.science.attacks.pgd import evaluating, fgsm
from robxfer_core.science.support.noise import image_seeds
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.science.support.precision import autocast
from robxfer_core.science.support.seeds import derive
from robxfer_core.spec.fields import Attack

from .adversarial import single_step_size
from .state import TrainingState

PROBE = 256
"""Images of the probe batch."""
FALLEN = 0.25
"""PGD accuracy has collapsed at this share of its best and below..."""
GAP = 0.2
"""...where the accuracy under single steps is larger by this."""


def overfitted(fgsm: Sequence[float], pgd: Sequence[float], first: int = 0) -> Overfitting | None:
    """The first epoch, from `first` on, after which PGD accuracy has collapsed while that under single steps has not.

    `fgsm`, `pgd`: accuracies on the probe batch after each epoch. Collapsed: at most a quarter of its best so far, and
    single steps at least as accurate as they were at that best and 0.2 above PGD. A network that was never robust
    against PGD has collapsed where single steps leave half of the images right and PGD one in twenty.
    """
    for epoch in range(first, len(pgd)):
        before = range(epoch)
        at = max(before, key=lambda e: pgd[e], default=None)
        best = pgd[at] if at is not None else 0.0
        fell = at is not None and pgd[epoch] <= FALLEN * best and fgsm[epoch] >= fgsm[at]
        never = pgd[epoch] <= 0.05 and fgsm[epoch] >= 0.5
        if (fell or never) and fgsm[epoch] - pgd[epoch] >= GAP:
            return Overfitting(epoch=epoch, fgsm=fgsm[epoch], pgd=pgd[epoch], best_pgd=best)
    return None


def watch(spec: Train, state: TrainingState, x: Tensor, y: Tensor, run: Run) -> None:
    """Add the probe batch's accuracies after this epoch to the state's and to the metrics; warn when it overfits.

    `x`, `y`: images as stored. Both attacks are on the network itself, not on its average.
    """
    x, y = x[:PROBE], y[:PROBE]
    if not len(y):
        return
    total, share = len(y), state.team.share
    places = share(torch.arange(total, device=x.device))
    x, y = share(x), share(y)

    def accuracy(right: Tensor) -> float:
        return int(state.team.sum(right.sum())) / total

    def one_step(images: Tensor) -> Tensor:
        seeds = image_seeds(derive(spec.seed, "probe", "fgsm"), places)
        return fgsm(state.network, images, y, spec.threat, single_step_size(spec, spec.threat.eps), seeds=seeds)

    with evaluating(state.network), torch.no_grad(), autocast(x.device, spec.precision):
        right = state.network(one_step(to_unit(x))).argmax(1) == y
    state.fgsm.append(accuracy(right))
    state.pgd.append(
        accuracy(
            correct(
                state.network,
                x,
                y,
                spec.threat,
                Attack(steps=spec.holdout_attack_steps),
                seed=derive(spec.seed, "probe", "pgd"),
                precision=spec.precision,
                first=int(places[0]) if len(places) else 0,
            )
        )
    )
    run.metric("probe_fgsm", state.epoch, state.fgsm[-1])
    run.metric("probe_pgd", state.epoch, state.pgd[-1])
    found = found_in(spec, state)
    run.metric("catastrophic_overfitting", state.epoch, float(found is not None))
    if found is not None and found.epoch == state.epoch:
        run.log(
            f"catastrophic overfitting at epoch {state.epoch}: on {total} images PGD accuracy is {found.pgd:.3f} "
            f"(it was {found.best_pgd:.3f}) while single steps leave {found.fgsm:.3f}; a smaller step size, a "
            "longer eps_warmup or method pgd may help"
        )


def found_in(spec: Train, state: TrainingState) -> Overfitting | None:
    """What the state's accuracies say. Before eps has risen to its full value nothing can be told."""
    risen = int(spec.eps_warmup * spec.rounds)
    return overfitted(state.fgsm, state.pgd, risen)
