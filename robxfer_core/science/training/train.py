"""Training a network, standard or adversarially."""

import json
import math
import time

import torch
from torch import Tensor, nn

from robxfer_core.jobs.run import Input, Inputs, Run
from robxfer_core.jobs.train import HoldoutCurves, SingleStepProbe, Train, TrainResult
from robxfer_core.science import models
from robxfer_core.science.attacks.evaluate import correct
from robxfer_core.science.data.artifact import Images, load
from robxfer_core.science.data.augment import augment
from robxfer_core.science.data.subset import held_out
from robxfer_core.science.models import Network
from robxfer_core.science.support.batches import channel_moments, epoch_batches
from robxfer_core.science.support.noise import image_seeds
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.science.support.precision import same_kernels
from robxfer_core.science.support.schedule import rate
from robxfer_core.science.support.seeds import derive
from robxfer_core.spec.fields import Attack, ThreatModel

from . import overfitting
from .adversarial import carries_perturbation, step
from .distributed import Team
from .state import TrainingState

CALIBRATION = 512
"""Images of a batch by which an untrained network's batch norm is calibrated."""
HISTORY = 1000
"""Epochs, the last ones, whose held-out accuracies are in result.json; history.json has all."""


def train(spec: Train, inputs: Inputs, run: Run) -> TrainResult:
    """Train on a data set's training split and leave model.safetensors, model.json and history.json.

    After each epoch the accuracy, and where eps > 0 that under PGD, is measured on the images held out, and of training
    against single steps that on a probe batch, to notice catastrophic overfitting (`overfitting` of the result). With
    `ema` the average is what is measured on the images held out, and published. Resumes from its checkpoint at the very
    step, bit for bit. Of several processes (`run.ranks`) each takes its share of every batch; they end as one does, up
    to rounding. Raises ValueError where data, architecture and `init` do not fit together, FloatingPointError where the
    training diverges.
    """
    data = load(inputs.one("dataset").path, "train")
    paired = data.variant == "stego"
    parts = held_out(data.y.numpy(), spec.holdout, derive(spec.seed, "holdout"), paired=paired)
    kept, held = (torch.from_numpy(places) for places in parts)
    if spec.epochs and len(kept) < 2:
        raise ValueError(f"{data.name} has {len(kept)} training images beside those held out; takes 2 or more")
    network = starting_network(spec, data, kept, inputs.maybe("init")).to(run.device)
    team = Team(run.rank, run.ranks) if spec.epochs else Team()
    state = TrainingState.start(network, spec.optimizer, averaged=spec.ema is not None, team=team)
    if run.resume is not None:
        state.restore(run.resume)
    x, y = data.x.to(run.device), data.y.to(run.device)
    if carries_perturbation(spec) and state.perturbation is None:
        state.perturbation = x.new_zeros((min(spec.batch_size, len(kept)), *x.shape[1:]), dtype=torch.float32)
    probes = held if len(held) else kept
    images, seconds = 0, 0.0
    with same_kernels():
        while state.epoch < spec.rounds:
            order = epoch_batches(kept, spec.batch_size, derive(spec.seed, "order", state.epoch), paired=paired)
            batches = [places for places in order for _ in range(spec.replays)]
            images += sum(map(len, batches[state.step :]))
            began = time.perf_counter()
            train_epoch(spec, state, x, y, batches, run)
            loss = float(state.loss) / sum(map(len, batches))  # waits for the device: the time is that of the work
            seconds += time.perf_counter() - began
            if not math.isfinite(loss):
                raise FloatingPointError(f"epoch {state.epoch}: the training loss is {loss}; a smaller lr may help")
            run.metric("train_loss", state.epoch, loss)
            measure_held_out(spec, state, x[held], y[held], run)
            if spec.single_step:
                overfitting.watch(spec, state, x[probes[: overfitting.PROBE]], y[probes[: overfitting.PROBE]], run)
            state.epoch, state.step, state.loss = state.epoch + 1, 0, torch.zeros_like(state.loss)
    if seconds:
        run.metric("images_per_s", state.epoch, images / seconds)  # a metric: results are the same on any machine
    if spec.epochs == 0 and len(kept) > 1:
        calibrate(network, x[kept])
    card = models.save(
        state.published,
        run.out,
        threat=spec.threat,
        seed=spec.seed,
        epochs=spec.epochs,
        source=f"trained on {data.name}" if spec.epochs else "at its random start",
        accuracy=_held_out_accuracy(spec, state, data.name, len(held)),
    )
    probed = {"fgsm": state.fgsm, "pgd": state.pgd} if spec.single_step else {}
    (run.out / "history.json").write_text(json.dumps({"clean": state.clean, "robust": state.robust, **probed}))
    return TrainResult(
        model=card,
        holdout=HoldoutCurves(clean=state.clean[-HISTORY:], robust=state.robust[-HISTORY:]),
        probe=SingleStepProbe(fgsm=state.fgsm[-HISTORY:], pgd=state.pgd[-HISTORY:]) if spec.single_step else None,
        overfitting=overfitting.found_in(spec, state) if spec.single_step else None,
    )


def starting_network(spec: Train, data: Images, kept: Tensor, init: Input | None) -> Network:
    """The network before the first step, on the CPU.

    From scratch it normalises by the moments of the training images. From another model it takes the body, the
    normalisation and the input size (unless the spec says another), and, where the numbers of classes agree, the head.
    """
    classes, seed = len(data.classes), derive(spec.seed, "init")
    channels, height, width = data.x.shape[1:]
    if init is None:
        if height != width and spec.arch.input_size is None:
            raise ValueError(
                f"arch.input_size: {data.name} has images of {height}x{width}; takes the side to resize to"
            )
        mean, std = channel_moments(data.x, kept)
        return models.build(spec.arch, classes, channels, height, mean, std, seed)
    if spec.epochs == 0:
        raise ValueError("epochs: 0 leaves a random start, which `init` is not; takes 1 or more")
    old = models.load(init.path)
    if (old.arch.name, old.arch.width) != (spec.arch.name, spec.arch.width):
        raise ValueError(
            f"init: a {old.arch.name} of width {old.arch.width:g}, and arch is a {spec.arch.name} of width "
            f"{spec.arch.width:g}; takes equal ones"
        )
    if channels not in (1, old.channels):
        raise ValueError(f"init: a model of {old.channels} channels, and {data.name} has {channels}")
    moments = old.mean.flatten().tolist(), old.std.flatten().tolist()
    network = models.build(spec.arch, classes, old.channels, old.input_size, *moments, seed)
    network.body.load_state_dict(old.body.state_dict())
    if old.classes == classes:
        network.head.load_state_dict(old.head.state_dict())
    return network


def calibrate(network: Network, x: Tensor) -> None:
    """Set batch norm's statistics of an untrained network to those of its training images.

    At their start (mean 0, variance 1) they would leave R(x) so badly scaled that heads on it hardly learn, and the
    `random_init` arm would be a floor that is too low.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over batches
    network.train()
    with torch.no_grad():
        for images in x.chunk(math.ceil(len(x) / CALIBRATION)):
            network.represent(to_unit(images))
    for norm in norms:
        norm.momentum = 0.1


def train_epoch(spec: Train, state: TrainingState, x: Tensor, y: Tensor, batches: list[Tensor], run: Run) -> None:
    """Take the steps of the state's epoch that are still to take; each batch is the places of its images in x.

    Steps that replay a batch follow on each other, and see the same augmented images.
    """
    noise, share = derive(spec.seed, "attack", state.epoch), state.team.share
    images, total = sum(map(len, batches)), len(batches) * spec.rounds
    state.network.train()
    for number in range(state.step, len(batches)):
        places = batches[number].to(x.device)
        crops = torch.Generator().manual_seed(derive(spec.seed, "augment", state.epoch, number // spec.replays))
        images_in = to_unit(share(augment(x[places], spec.augment, crops)))
        taken = state.epoch * len(batches) + number
        for group in state.optimizer.param_groups:
            group["lr"] = spec.optimizer.lr * rate(spec.optimizer.schedule, taken / total)
        try:
            seeds = image_seeds(noise, share(places))
            loss = step(spec, state, images_in, share(y[places]), seeds, len(places), taken / total)
            state.loss += loss * len(places)
        except FloatingPointError as error:
            raise FloatingPointError(f"epoch {state.epoch}, step {number}: {error}") from error
        if spec.ema is not None:
            state.update_average(spec.ema, taken + 1)
        state.step = number + 1
        done = state.epoch * images + min(state.step * spec.batch_size, images)
        run.progress(done, spec.rounds * images, "images")
        if run.checkpoint_due():
            run.checkpoint(state.save)


def _held_out_accuracy(spec: Train, state: TrainingState, name: str, images: int) -> models.Accuracy | None:
    """Of the last epoch, for the model card."""
    if not state.clean:
        return None
    robust = state.robust[-1] if state.robust else None
    attack = f"PGD, {spec.holdout_attack_steps} steps" if robust is not None else ""
    return models.Accuracy(
        dataset=f"{name}, held out of training", n=images, clean=state.clean[-1], robust=robust, attack=attack
    )


def measure_held_out(spec: Train, state: TrainingState, x: Tensor, y: Tensor, run: Run) -> None:
    """Add the accuracies on the held-out images to the state's history and to the metrics."""
    if not len(y):
        return
    attack = Attack(steps=spec.holdout_attack_steps)
    seed = derive(spec.seed, "holdout attack")
    total, share = len(y), state.team.share
    x, y, places = share(x), share(y), share(torch.arange(total)).tolist()

    def accuracy(threat: ThreatModel) -> float:
        first = places[0] if places else 0
        right = correct(state.published, x, y, threat, attack, seed=seed, precision=spec.precision, first=first)
        return int(state.team.sum(right.sum())) / total

    state.clean.append(accuracy(ThreatModel(eps=0.0)))
    run.metric("holdout_clean", state.epoch, state.clean[-1])
    if spec.threat.eps > 0:
        state.robust.append(accuracy(spec.threat))
        run.metric("holdout_robust", state.epoch, state.robust[-1])
