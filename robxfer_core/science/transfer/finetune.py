"""Transfer that runs the network every epoch: full-network, some blocks unfrozen, or a frozen body with crops.

The paper's section 2 and Salman et al. 2020: full-network transfer starts from the source's weights and trains all of
them; with a frozen body only the head learns.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robxfer_core.jobs.results import TaskSummary
from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.jobs.transfer import RobustAccuracy, Transfer, TransferResult
from robxfer_core.science import models
from robxfer_core.science.attacks.evaluate import correct, share
from robxfer_core.science.data.artifact import Images, load
from robxfer_core.science.data.augment import center_crop, random_flip, random_resized_crop
from robxfer_core.science.data.subset import per_class, stratified_order, stratified_split
from robxfer_core.science.models import Network
from robxfer_core.science.support.batches import epoch_batches
from robxfer_core.science.support.noise import image_seeds
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.science.support.precision import autocast, same_kernels
from robxfer_core.science.support.schedule import rate
from robxfer_core.science.support.seeds import derive
from robxfer_core.science.training.distributed import Team
from robxfer_core.science.training.state import TrainingState
from robxfer_core.spec.archs import representation
from robxfer_core.spec.fields import Attack, Sgd, ThreatModel

from . import result
from .finetune_checkpoint import FinetuneState, TrainingRecord
from .linear_heads import head_start


@dataclass(frozen=True)
class FinetuneTraining:
    """One training of the network on the new task."""

    images: Tensor
    """[n] int64: its training images' places."""
    lr: float
    weight_decay: float
    scored: tuple[Tensor, Tensor]
    """Images as stored, and labels, on which its accuracy is measured after each epoch."""
    beside: tuple[Tensor, Tensor] | None = None
    """As `scored`: measured after the first and the last epoch."""
    strict: bool = True
    """Whether it may not diverge."""


def blocks(network: Network) -> list[nn.Module]:
    """The blocks of the body, in the order of the pass; the stem is none."""
    return [block for name in network.body.stages for block in network.body.get_submodule(name).children()]


def with_head(network: Network, weight: Tensor, bias: Tensor) -> Network:
    """The network with another head, [K, r] and [K]. Changes the network."""
    network.head, network.classes = nn.Linear(weight.shape[1], len(bias)), len(bias)
    with torch.no_grad():
        network.head.weight.copy_(weight)
        network.head.bias.copy_(bias)
    return network


def starting_network(spec: Transfer, source: Network, classes: int) -> Network:
    """The source network with a new head, and gradients only where the regime trains. Changes the source."""
    weights = head_start(spec.seed, representation(source.arch), classes)
    network = with_head(source, weights[:-1].mT, weights[-1])
    if not spec.normalise:
        network.mean.zero_()
        network.std.fill_(1)
    network.requires_grad_(False)
    for part in trained_parts(spec, network):
        part.requires_grad_(True)
    return network


def trained_parts(spec: Transfer, network: Network) -> list[nn.Module]:
    """The modules that are trained; the rest is frozen."""
    if spec.regime == "full_network":
        return [network]
    last = blocks(network)[-spec.unfrozen_blocks :] if spec.unfrozen_blocks else []
    return [*last, network.head]


def set_modes(spec: Transfer, network: Network) -> None:
    """Train mode where the network is trained; the frozen part's as the spec says."""
    network.train(spec.frozen_batch_norm == "train")
    for part in trained_parts(spec, network):
        part.train()


def transfer_network(spec: Transfer, inputs: Inputs, run: Run) -> TransferResult:
    """Learning curves of the network on the new task, a tuned one, and robust accuracy where it is asked for.

    The result has the form of `transfer` on features, without standardised curves and asymptotes. No choice sees the
    test split. Resumes from its checkpoint at the very step, bit for bit. Raises ValueError where the spec does not
    fit data and network, FloatingPointError where a curve's training diverges.
    """
    train, test = (load(inputs.one("dataset").path, split) for split in ("train", "test"))
    source, n_train = inputs.one("model").path, len(train.y)
    there = len(blocks(models.load(source)))
    if spec.unfrozen_blocks > there:
        raise ValueError(f"unfrozen_blocks: got {spec.unfrozen_blocks}; takes at most {there}, the network's blocks")
    if spec.images_per_class is not None:
        kept = torch.from_numpy(
            per_class(train.y.numpy(), spec.images_per_class, derive(spec.seed, "images_per_class"))
        )
        train = replace(train, x=train.x[kept], y=train.y[kept])
    sizes = result.training_sizes(spec, len(train.y), len(test.y), 1)
    clean = inputs.maybe("clean_dataset")
    work = _Work(spec, run, train, inputs)
    tested = _scored(spec, test)
    beside = _scored(spec, load(clean.path, "test")) if clean is not None else None

    labels = train.y.numpy()
    order = torch.from_numpy(stratified_order(labels, derive(spec.seed, "subset")))
    fit, held = map(torch.from_numpy, stratified_split(labels, spec.validation, derive(spec.seed, "validation")))
    unseen = _scored(spec, train, held)
    pairs = [(lr, decay) for lr in spec.tune_lr for decay in spec.tune_weight_decay]
    curves = [FinetuneTraining(order[:size], spec.lr, spec.weight_decay, tested, beside) for size in sizes]
    candidates = [FinetuneTraining(fit, *pair, unseen, strict=False) for pair in pairs]
    attacked = min(spec.robust.max_images, len(test.y)) * len(spec.robust.eps) if spec.robust is not None else 0
    work.total = spec.epochs * sum(len(each.images) for each in [*curves, *candidates]) + attacked
    work.total += spec.epochs * len(order) * bool(pairs)

    with same_kernels():
        learnt = [work.learn(each) for each in curves[:-1]]
        learnt.append(work.learn(curves[-1], main=True))
        tried = [work.learn(each) for each in candidates]
        accuracies = [record.test[-1] if record.finite else 0.0 for record in tried]
        table = [(*pair, accuracy) for pair, accuracy in zip(pairs, accuracies, strict=True)]
        chosen = None
        if table:
            best = max(range(len(table)), key=accuracies.__getitem__)
            again = FinetuneTraining(order, *pairs[best], tested)
            same = pairs[best] == (spec.lr, spec.weight_decay)  # the curve is that very training
            record = learnt[-1] if same else work.learn(again)
            chosen = result.tuned(best, table, record.correct_last, test.y)
    run.progress(work.total, work.total, "images")
    return TransferResult(
        model=models.read_card(source),
        data=TaskSummary(
            name=train.name,
            variant=train.variant,
            n_train=n_train,
            n_test=len(test.y),
            classes=len(train.classes),
        ),
        regime=spec.regime,
        unfrozen_blocks=spec.unfrozen_blocks,
        curves=[
            result.curve(
                len(each.images),
                False,
                record.train_loss,
                record.test,
                record.correct_first,
                record.correct_last,
                test.y,
                (record.beside[0], record.beside[-1]) if record.beside else None,
            )
            for each, record in zip(curves, learnt, strict=True)
        ],
        asymptote={},
        tuned=chosen,
        robust=work.robust,
        seed=spec.seed,
    )


def _scored(spec: Transfer, data: Images, places: Tensor | None = None) -> tuple[Tensor, Tensor]:
    x, y = (data.x, data.y) if places is None else (data.x[places], data.y[places])
    return (center_crop(x) if spec.center_crop else x), y


class _Work:
    """The trainings of one job, one after another, and how far they are."""

    def __init__(self, spec: Transfer, run: Run, train: Images, inputs: Inputs) -> None:
        self.spec, self.run = spec, run
        self.source, self.classes = inputs.one("model").path, len(train.classes)
        self.x, self.y = train.x.to(run.device), train.y.to(run.device)
        self.state = FinetuneState() if run.resume is None else FinetuneState.restore(run.resume)
        self.kept: Iterator[TrainingRecord] = iter(list(self.state.done))
        self.resume = run.resume
        self.before = self.total = 0
        """Images of the trainings that are done, and of all."""
        self.robust: RobustAccuracy | None = None

    def learn(self, training: FinetuneTraining, main: bool = False) -> TrainingRecord:
        """What became of a training; after the main one, robust accuracy is measured. Those done before are passed."""
        spec, state = self.spec, self.state
        record = next(self.kept, None)
        if record is None:
            network = starting_network(spec, models.load(self.source), self.classes).to(self.run.device)
            how = Sgd(
                lr=training.lr, momentum=spec.momentum, weight_decay=training.weight_decay, schedule=spec.schedule
            )
            state.training = TrainingState.start(network, how, averaged=False, team=Team())
            if self.resume is not None and state.under_way:
                state.training.restore(self.resume)
            self.resume = None
            state.under_way = True
            self._train(training, state.training, main)
            if main and spec.robust is not None:
                self._measure(network, *training.scored)
            record, state.record, state.under_way = state.record, TrainingRecord(), False
            state.done.append(record)
        if main and spec.robust is not None:
            self.robust = state.robust
            self.before += min(spec.robust.max_images, len(training.scored[1])) * len(spec.robust.eps)
        self.before += spec.epochs * len(training.images)
        return record

    def _train(self, training: FinetuneTraining, at: TrainingState, main: bool) -> None:
        spec, record = self.spec, self.state.record
        while at.epoch < spec.epochs and record.finite:
            batches = epoch_batches(training.images, spec.batch_size, derive(spec.seed, "head", "order", at.epoch))
            self._epoch(training, at, batches)
            record.train_loss.append(float(at.loss) / sum(map(len, batches)))
            if not record.finite and training.strict:
                raise FloatingPointError(
                    f"the network of lr {training.lr:g} and weight decay {training.weight_decay:g} on "
                    f"{len(training.images)} images diverged; takes smaller ones"
                )
            right = self._right(at.network, *training.scored)
            record.test.append(share(right))
            record.correct_last = right
            if at.epoch == 0:
                record.correct_first = right
            if training.beside is not None and at.epoch in (0, spec.epochs - 1):
                record.beside.append(share(self._right(at.network, *training.beside)))
            if main:
                self.run.metric("train_loss", at.epoch, record.train_loss[-1])
                self.run.metric("test_accuracy", at.epoch, record.test[-1])
            at.epoch, at.step, at.loss = at.epoch + 1, 0, torch.zeros_like(at.loss)

    def _epoch(self, training: FinetuneTraining, at: TrainingState, batches: list[Tensor]) -> None:
        """The steps of an epoch that are still to take."""
        spec, seed = self.spec, derive(self.spec.seed, "crop", at.epoch)
        total = spec.epochs * len(batches)
        set_modes(spec, at.network)
        for number in range(at.step, len(batches)):
            places = batches[number].to(self.x.device, non_blocking=True)
            images = to_unit(self.x[places])
            seeds = image_seeds(seed, places)
            if spec.random_resized_crop:
                images = random_resized_crop(images, at.network.input_size, seeds)
            if spec.flip:
                images = random_flip(images, seeds)
            for group in at.optimizer.param_groups:
                group["lr"] = training.lr * rate(spec.schedule, (at.epoch * len(batches) + number) / total)
            with autocast(images.device, spec.precision):
                loss = F.cross_entropy(at.trained(images).float(), self.y[places])
            at.optimizer.zero_grad()
            loss.backward()
            at.optimizer.step()
            at.loss += loss.detach() * len(places)
            at.step = number + 1
            done = at.epoch * len(training.images) + min(at.step * spec.batch_size, len(training.images))
            self._pause(self.before + done)

    def _measure(self, network: Network, x: Tensor, y: Tensor) -> None:
        assert self.spec.robust is not None
        before = self.before + self.spec.epochs * len(self.y)
        self.state.robust = result.measure_robust(
            self.spec.robust,
            network,
            x,
            y,
            self.state.outcomes,
            seed=self.spec.seed,
            precision=self.spec.precision,
            progress=lambda images: self._pause(before + images),
        )

    def _right(self, network: Network, x: Tensor, y: Tensor) -> Tensor:
        return correct(network, x, y, ThreatModel(eps=0.0), Attack(), seed=0, precision=self.spec.precision)

    def _pause(self, done: int) -> None:
        self.run.progress(done, self.total, "images")
        if self.run.checkpoint_due():
            self.run.checkpoint(self.state.save)
