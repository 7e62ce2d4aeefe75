"""Transfer: the representation of every image, and linear heads that learn on it; `regimes` runs the network."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robxfer_core.jobs.features import Features, FeaturesResult
from robxfer_core.jobs.results import TaskSummary
from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.jobs.transfer import Asymptote, Curve, RobustAccuracy, Transfer, TransferResult
from robxfer_core.science import models
from robxfer_core.science.attacks.evaluate import share
from robxfer_core.science.attacks.pgd import evaluating
from robxfer_core.science.data.artifact import load
from robxfer_core.science.data.subset import per_class, stratified_order, stratified_split
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.science.support.precision import autocast
from robxfer_core.science.support.seeds import derive

from . import result
from .checkpoint import TransferState
from .finetune import transfer_network, with_head
from .linear_heads import Head, HeadsState, LabelledFeatures, Trained, train_heads
from .logistic import asymptote

BATCH = 256


def features(spec: Features, inputs: Inputs, run: Run) -> FeaturesResult:
    """Leave R(x) of both splits: {train,test}_x.npy, float32 [n, r], and {train,test}_y.npy, int64 [n].

    Resumes from its last checkpoint. Raises ValueError where the images do not fit the network, FloatingPointError
    naming split and image where R(x) is not finite.
    """
    network = models.load(inputs.one("model").path).to(run.device)
    splits = {split: load(inputs.one("dataset").path, split) for split in ("train", "test")}
    represented: dict[str, list[Tensor]] = {split: [] for split in splits}
    for split, parts in represented.items():
        if run.resume is not None and (run.resume / f"{split}.npy").exists():
            parts += torch.from_numpy(np.load(run.resume / f"{split}.npy", allow_pickle=False)).split(BATCH)

    def save(folder: Path) -> None:
        for split, parts in represented.items():
            if parts:
                np.save(folder / f"{split}.npy", torch.cat(parts).numpy())

    total = sum(len(data.x) for data in splits.values())
    done = sum(len(part) for parts in represented.values() for part in parts)
    with evaluating(network), torch.no_grad():
        for split, data in splits.items():
            parts = represented[split]
            for images in data.x.split(BATCH)[len(parts) :]:
                with autocast(network.mean.device, spec.precision):
                    found = network.represent(to_unit(images.to(run.device))).float().cpu()
                _check_finite(found, split, BATCH * len(parts))
                parts.append(found)
                done += len(images)
                run.progress(done, total, "images")
                if run.checkpoint_due():
                    run.checkpoint(save)
            np.save(run.out / f"{split}_x.npy", torch.cat(parts).numpy())
            np.save(run.out / f"{split}_y.npy", data.y.numpy())
    train, test = splits["train"], splits["test"]
    return FeaturesResult(
        model=models.read_card(inputs.one("model").path),
        data=TaskSummary(
            name=train.name,
            variant=train.variant,
            n_train=len(train.y),
            n_test=len(test.y),
            classes=len(train.classes),
        ),
    )


def _check_finite(represented: Tensor, split: str, first: int) -> None:
    finite = represented.isfinite().all(1)
    if not finite.all():
        image = first + int((~finite).nonzero()[0])
        raise FloatingPointError(f"the representation of image {image} of the {split} split is not finite")


def transfer(spec: Transfer, inputs: Inputs, run: Run) -> TransferResult:
    """Learning curves on a new task, a tuned head, and robust accuracy where it is asked for.

    Here on features: curves of linear heads, and what heads tend to (`logistic.asymptote`). Where the backbone is run
    every epoch, `transfer_network` does it. The curves share one learning rate and weight decay: for each training-set
    size, raw and standardised features. The tuned head's are chosen on a validation part of the training split; no
    choice sees the test split. Resumes from its checkpoint at the very epoch, bit for bit.
    """
    if not spec.on_features:
        return transfer_network(spec, inputs, run)
    found = inputs.one("features")
    about = FeaturesResult.read(found.path)
    classes = about.data.classes
    train, test = (_read(found.path, split, run.device) for split in ("train", "test"))
    labels = train.y.cpu().numpy()
    if spec.images_per_class is not None:
        kept = per_class(labels, spec.images_per_class, derive(spec.seed, "images_per_class"))
        at = torch.from_numpy(kept).to(run.device)
        train, labels = LabelledFeatures(train.x[at], train.y[at]), labels[kept]
    sizes = result.training_sizes(spec, len(labels), len(test.y), 2)
    beside = inputs.maybe("clean")
    if beside is not None and FeaturesResult.read(beside.path).model != about.model:
        raise ValueError("clean: features of another model; takes those of the model of `features`")
    clean = _read(beside.path, "test", "cpu") if beside is not None else None

    order = torch.from_numpy(stratified_order(labels, derive(spec.seed, "subset")))
    curves = [
        Head(order[:size], spec.lr, spec.weight_decay, spec.seed, standardised)
        for size in sizes
        for standardised in (False, True)
    ]
    fit, held = map(torch.from_numpy, stratified_split(labels, spec.validation, derive(spec.seed, "validation")))
    candidates = [Head(fit, lr, decay, spec.seed) for lr in spec.tune_lr for decay in spec.tune_weight_decay]
    # Over the curves' sizes, then the candidates, then the best of them.
    passes = spec.epochs * (len(sizes) + 2 * bool(candidates))
    state = TransferState() if run.resume is None else TransferState.restore(run.resume, run.device)

    def pause() -> None:
        if run.checkpoint_due():
            run.checkpoint(state.save)

    def learn(heads: list[Head], scored: LabelledFeatures, before: int, state: HeadsState) -> list[Trained]:
        def progress(done: int, _: int) -> None:
            run.progress(before * spec.epochs + done, passes, "epochs")
            pause()

        return train_heads(
            train,
            scored,
            classes,
            heads,
            epochs=spec.epochs,
            batch_size=spec.batch_size,
            momentum=spec.momentum,
            schedule=spec.schedule,
            progress=progress,
            state=state,
        )

    learnt = learn(curves, test, 0, state.curves)
    _check_losses(curves, learnt)
    for epoch, accuracy in enumerate(learnt[-2].test):
        run.metric("test_accuracy", epoch, accuracy)
    unseen = LabelledFeatures(train.x[held.to(run.device)], train.y[held.to(run.device)])
    chosen = None
    if candidates:
        # A candidate that diverges is none to choose, but no reason to give up the others.
        candidates_learnt = learn(candidates, unseen, len(sizes), state.candidates)
        tried = [head.test[-1] if _learnt(head) else 0.0 for head in candidates_learnt]
        best = max(range(len(tried)), key=tried.__getitem__)
        whole = [Head(order, candidates[best].lr, candidates[best].weight_decay, spec.seed)]
        (tuned,) = learn(whole, test, len(sizes) + 1, state.best)
        _check_losses(whole, [tuned])
        table = [(head.lr, head.weight_decay, accuracy) for head, accuracy in zip(candidates, tried, strict=True)]
        chosen = result.tuned(best, table, tuned.correct_last, test.y)
    parts = fit.to(run.device), held.to(run.device)
    for name in ("raw", "standardised"):
        if name not in state.asymptote:
            state.asymptote[name] = _asymptote(train, test, *parts, classes, name == "standardised", pause)
    robust = _robust(spec, inputs, run, about, learnt[-2], state, pause) if spec.robust is not None else None
    return TransferResult(
        model=about.model,
        data=about.data,
        features_key=found.key,
        regime=spec.regime,
        unfrozen_blocks=0,
        curves=[_curve(head, trained, test.y, clean) for head, trained in zip(curves, learnt, strict=True)],
        asymptote=state.asymptote,
        tuned=chosen,
        robust=robust,
        seed=spec.seed,
    )


def _robust(
    spec: Transfer,
    inputs: Inputs,
    run: Run,
    about: FeaturesResult,
    head: Trained,
    state: TransferState,
    pause: Callable[[], None],
) -> RobustAccuracy:
    """Robust accuracy of the network whose head was learnt on features."""
    assert spec.robust is not None
    source, test = inputs.one("model").path, load(inputs.one("dataset").path, "test")
    if models.read_card(source) != about.model:
        raise ValueError("model: another than that of `features`; takes the model they were made by")
    if (test.name, test.variant, len(test.y)) != (about.data.name, about.data.variant, about.data.n_test):
        raise ValueError("dataset: another than that of `features`; takes the set they were made of")
    network = with_head(models.load(source), head.weight, head.bias).to(run.device)

    def progress(images: int) -> None:
        assert spec.robust is not None
        run.progress(images, min(spec.robust.max_images, len(test.y)) * len(spec.robust.eps), "attacked images")
        pause()

    how = {"seed": spec.seed, "precision": spec.precision}
    return result.measure_robust(spec.robust, network, test.x, test.y, state.attacked, **how, progress=progress)


def _read(folder: Path, split: str, device: str) -> LabelledFeatures:
    x, y = (np.load(folder / f"{split}_{part}.npy", allow_pickle=False) for part in "xy")
    _check_finite(torch.from_numpy(x), split, 0)
    return LabelledFeatures(torch.from_numpy(x).to(device), torch.from_numpy(y).to(device))


def _learnt(trained: Trained) -> bool:
    return math.isfinite(trained.train_loss[-1])


def _check_losses(heads: list[Head], trained: list[Trained]) -> None:
    for head, curve in zip(heads, trained, strict=True):
        if not _learnt(curve):
            raise FloatingPointError(
                f"the head of lr {head.lr:g} and weight decay {head.weight_decay:g} on {len(head.images)} images "
                f"diverged; takes smaller ones"
            )


def _curve(head: Head, trained: Trained, y: Tensor, clean: LabelledFeatures | None) -> Curve:
    beside = None
    if clean is not None:
        first, last = (share(trained.predict(clean.x, first=early) == clean.y) for early in (True, False))
        beside = first, last
    return result.curve(
        len(head.images),
        head.standardised,
        trained.train_loss,
        trained.test,
        trained.correct_first,
        trained.correct_last,
        y,
        beside,
    )


def _asymptote(
    train: LabelledFeatures,
    test: LabelledFeatures,
    fit: Tensor,
    held: Tensor,
    classes: int,
    standardised: bool,
    between: Callable[[], None],
) -> Asymptote:
    found = asymptote(train.x, train.y, fit, held, test.x, test.y, classes, standardised, between)
    return Asymptote(
        test=result.short(share(found.correct)),
        l2=found.l2,
        validation=result.short(found.validation),
        converged=found.converged,
    )
