"""Floating-point operations of a job, by counting."""

from collections.abc import Mapping

from robxfer_core.jobs.base import Job
from robxfer_core.jobs.data import ControlDataset, Dataset, PerturbDataset, RobustifyDataset
from robxfer_core.jobs.export_dataset import ExportDataset
from robxfer_core.jobs.imports import ROBUST_IMAGES, ROBUST_STEPS, Fetch, ImportDataset, ImportModel
from robxfer_core.jobs.models import Evaluate, Train
from robxfer_core.jobs.probe import Probe
from robxfer_core.jobs.shapes import Facts
from robxfer_core.jobs.simulate import Linear, Multiclass, Simulate, SimulateReport
from robxfer_core.jobs.source_modification_report import SourceModificationReport
from robxfer_core.jobs.stego import DetectStego, EmbedStego, SteganalysisReport
from robxfer_core.jobs.transfer import Features, Transfer
from robxfer_core.jobs.transfer_gap_report import Report
from robxfer_core.jobs.visualize import ComponentVisualizationReport, Visualize
from robxfer_core.jobs.which_eps_report import WhichEpsReport
from robxfer_core.spec.archs import LAYOUTS, forward_flops

UNKNOWN_IMAGES = 10_000  # where a set's size is not known
UNKNOWN_SIDE = 32
PROBED = 32 * 150  # of images by which attacks are doubted, and forward passes of each


def flops(job: Job, facts: Mapping[str, Facts], own: Facts) -> float:
    """Floating-point operations of a job, to leading order (a backward pass counts as two forward passes)."""
    match job:
        case Train():
            return _train(job, facts[job.dataset])
        case Evaluate():
            model = facts[job.model]
            return _forward(model) * ((own.test or job.max_images) * (1 + _attacks(job)) + PROBED)
        case PerturbDataset():
            data, model = facts[job.dataset], facts[job.generator]
            search = 4 * 512 if job.raise_eps else 0
            return _forward(model) * (_images(data) + search) * (2 + 3 * job.attack.steps * job.attack.restarts)
        case RobustifyDataset():
            data = facts[job.dataset]
            # A step is a forward and a backward pass; beside them representations and classes, before and after.
            return _forward(facts[job.generator]) * (
                _images(data) + (data.train or UNKNOWN_IMAGES) * (3 * job.steps + 5)
            )
        case Features():
            return _forward(facts[job.model]) * _images(facts[job.dataset])
        case Transfer():
            return _transfer(job, facts, own)
        case ComponentVisualizationReport():
            return 1e9 + 1e7 * sum(len(each.visualizations) for each in job.architectures)
        case Visualize():
            looks = (facts[job.dataset].test or UNKNOWN_IMAGES) + 2 * job.made if job.judge is not None else job.made
            judged = 0.0 if job.judge is None else _forward(facts[job.judge]) * looks
            return judged + _forward(facts[job.model]) * (looks + 3 * job.gradient_steps * job.made)
        case ExportDataset():
            return 1000.0 * _images(own) * (own.channels or 3) * (own.side or UNKNOWN_SIDE) ** 2
        case Probe():
            return _probe(job, facts)
        case EmbedStego():  # textured: 60 bisections of three entropies; matching: three draws
            return (2e4 if job.method == "textured" else 100.0) * _values(own) * _images(own)
        case DetectStego():
            images = job.validation * (own.train or UNKNOWN_IMAGES) + (own.test or 0)
            return _forward(own) * images if job.model else 2e3 * (own.length or 512) * _images(own)
        case SteganalysisReport():
            return 1e7 * sum(len(arm.detections) + len(arm.reference) for arm in job.arms)
        case Dataset() | ImportDataset() | ControlDataset():
            return 100.0 * _images(own) * _values(own)
        case Fetch():
            return 1e8
        case ImportModel():
            if job.dataset is None:
                return 1e8
            attacked = ROBUST_IMAGES * 3 * ROBUST_STEPS if job.threat.eps > 0 else 0
            return _forward(own) * ((facts[job.dataset].test or UNKNOWN_IMAGES) + attacked)
        case Report() | SourceModificationReport():
            return 1e7 * sum(len(arm.transfers) for arm in job.arms)
        case Simulate():
            one = _linear(job.setting) if isinstance(job.setting, Linear) else _multiclass(job.setting)
            return job.repeats * one
        case SimulateReport():
            return 1e7 * len(job.simulations)
        case WhichEpsReport():
            return 1e7 * sum(len(amount.transfers) for amount in job.amounts)
        case _:
            raise TypeError(f"no cost for a {type(job).__name__}")


def _train(job: Train, data: Facts) -> float:
    images = data.train or UNKNOWN_IMAGES
    forward = forward_flops(job.arch, data.channels or 3, data.side or UNKNOWN_SIDE, data.classes or 10)
    attacked = job.threat.eps > 0
    step = _step(job) if attacked else 3
    check = 1 + (3 * job.holdout_attack_steps if attacked else 0)
    probe = 256 * 3 * (2 + job.holdout_attack_steps) if job.single_step else 0
    passes = job.replays * (1 - job.holdout) * step + job.holdout * check
    return job.rounds * forward * (images * passes + probe)


def _step(job: Train) -> int:
    """Forward passes that an adversarial training step costs an image."""
    match job.method:
        case "pgd":
            return 3 + 3 * job.attack.steps * job.attack.restarts
        case "trades":
            return 6 + 1 + 3 * job.attack.steps
        case "fast":
            return 3 + 3
        case "free":
            return 3


def _attacks(job: Evaluate) -> float:
    """Forward passes of all attacks at all levels on an image, half of which are left to those after the first."""
    runs = {
        "pgd": job.attack.steps * job.attack.restarts,
        "apgd_ce": job.apgd.steps * job.apgd.restarts,
        "apgd_dlr": job.apgd.steps * job.apgd.restarts,
        "apgd_dlr_t": job.apgd.steps * job.apgd.restarts * job.apgd.targets,
    }
    first, *later = (runs[attack] for attack in job.attacks)
    return 3 * sum(eps > 0 for eps in job.eps) * (first + sum(later) / 2)


def _linear(setting: Linear) -> float:
    """Of a repeat: two decompositions of a d x T matrix at each point, to leading order 10 d T min(d, T) each."""
    weak = setting.weak.count if setting.weak else 0
    total = sum(20.0 * setting.dimension * (t + weak) * min(setting.dimension, t + weak) for t in setting.tasks)
    return total * setting.points / len(setting.tasks)


def _multiclass(setting: Multiclass) -> float:
    """Of a repeat: about 300 evaluations of loss and gradient a fit, each three forward passes, and the attack's.

    Adversarial fits take about three times as many.
    """
    if setting.representation == "linear":
        width, starts = setting.dimension * setting.rank, 1
    else:
        width, starts = (setting.dimension + setting.rank) * setting.hidden, 2
    source = 2.0 * (width + setting.rank * setting.source_classes) * starts * sum(setting.n1)
    passes = sum(3 * (3 + 3 * setting.attack_steps) if eps > 0 else 3 for eps in setting.eps)
    heads = 2.0 * setting.rank * setting.target_classes * len(setting.eps) * len(setting.n1) * 3
    return 300.0 * (source * passes + heads * (setting.test + sum(setting.n2)))


def _transfer(job: Transfer, facts: Mapping[str, Facts], own: Facts) -> float:
    images, tried = own.train or UNKNOWN_IMAGES, len(job.tune_lr) * len(job.tune_weight_decay)
    forward = _forward(facts[job.model]) if job.model is not None else 0.0
    robust = 0.0
    if job.robust is not None:
        attacked, attack = sum(eps > 0 for eps in job.robust.eps), job.robust.attack
        measured = min(job.robust.max_images, own.test or job.robust.max_images)
        robust = forward * measured * (len(job.robust.eps) + 3 * attacked * attack.steps * attack.restarts)
    if job.on_features:
        heads = 2 * (1 + len(job.sizes)) + tried
        weights = (own.length or 512) * (own.classes or 10)
        return robust + 6.0 * weights * _images(own) * (heads * job.epochs + 100)
    # Blocks cost about the same: where a stage halves the side it doubles the channels.
    blocks = sum(LAYOUTS[own.arch.name].blocks) if own.arch is not None else 1
    trained = 1.0 if job.regime == "full_network" else min(1.0, job.unfrozen_blocks / blocks)
    seen = images + sum(job.sizes) + (tried * (1 - job.validation) + 1) * images * (tried > 0)
    checked = (own.test or 0) * (1 + len(job.sizes) + (tried > 0)) + tried * job.validation * images
    return robust + forward * job.epochs * ((1 + 2 * trained) * seen + checked)


def _probe(job: Probe, facts: Mapping[str, Facts]) -> float:
    if job.features is not None:
        features = facts[job.features]
        length = features.length or 512
        if job.measure == "logme":  # a singular value decomposition
            return 10.0 * (features.train or UNKNOWN_IMAGES) * length**2
        return 2.0 * (features.train or UNKNOWN_IMAGES) * (features.test or UNKNOWN_IMAGES) * length
    model, data = facts[job.model or ""], facts[job.dataset or ""]
    default = "train" if job.measure == "leep" else "test"
    whole = (data.train if (job.split or default) == "train" else data.test) or UNKNOWN_IMAGES
    images = min(whole, job.max_images)
    if job.measure == "leep":
        return _forward(model) * images
    if job.measure == "cka":
        return (_forward(model) + _forward(facts[job.other or ""])) * images + 8.0 * images * job.batch_size * 512
    # For each image and component its gradient, and a search in both directions at every eps.
    pairs = min(images, whole // 2) * (job.components or model.length or 512) * (1 + len(job.also))
    searches = 2 * len(job.eps) * job.attack.restarts
    return _forward(model) * (whole + pairs * (3 + searches * (3 * job.attack.steps + 1)))


def _forward(model: Facts) -> float:
    if model.arch is None:
        return 1e9
    return forward_flops(model.arch, model.channels or 3, model.side or UNKNOWN_SIDE, model.classes or 10)


def _values(data: Facts) -> int:
    return (data.channels or 3) * (data.side or UNKNOWN_SIDE) ** 2


def _images(data: Facts) -> int:
    return (data.train or UNKNOWN_IMAGES) + (data.test or 0)
