"""What is known of each node's result before it is computed, and whether models fit the images they are given."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from robxfer_core.jobs.base import Job
from robxfer_core.jobs.data import ControlDataset, Dataset, PerturbDataset, RobustifyDataset
from robxfer_core.jobs.export_dataset import ExportDataset
from robxfer_core.jobs.imports import Fetch, ImportDataset, ImportModel
from robxfer_core.jobs.models import Evaluate, Train
from robxfer_core.jobs.probe import Probe
from robxfer_core.jobs.shapes import Facts, check_classes, check_features, check_images, check_takes, check_task
from robxfer_core.jobs.simulate import Simulate, SimulateReport
from robxfer_core.jobs.source_modification_report import SourceModificationReport
from robxfer_core.jobs.stego import DetectStego, EmbedStego, SteganalysisReport
from robxfer_core.jobs.transfer import Features, Transfer
from robxfer_core.jobs.transfer_gap_report import Report
from robxfer_core.jobs.visualize import FEWEST, SMALLEST, ComponentVisualizationReport, Visualize
from robxfer_core.jobs.which_eps_report import WhichEpsReport
from robxfer_core.spec.archs import CHANNELS, LAYOUTS, representation
from robxfer_core.spec.errors import Problem, SpecError, place, show


def facts_of(
    job: Job, known: Mapping[str, Facts], catalog: Mapping[str, Any] | None, at: tuple[str | int, ...]
) -> Facts:
    """The facts of a job's result from those of its inputs. Raises SpecError where a model does not fit the images.

    at: the job's place in the spec, for the error.
    """
    match job:
        case Dataset():
            return _dataset(job, catalog, at)
        case ImportDataset():  # the API never looks into an upload: what it holds, the job will tell
            return Facts(side=job.size)
        case Train():
            return _train(job, known, at)
        case Fetch():
            return Facts()
        case ImportModel():
            return Facts(side=job.side, arch=job.arch, length=representation(job.arch))
        case PerturbDataset():
            data, model = known[job.dataset], known[job.generator]
            check_takes(model, data, (*at, "generator"))
            check_classes(model, data, (*at, "generator"))
            return replace(data, floats=job.store == "float16")
        case ControlDataset():
            return replace(known[job.dataset], floats=job.arm == "noise" and known[job.like].floats)
        case RobustifyDataset():
            data, model = known[job.dataset], known[job.generator]
            check_takes(model, data, (*at, "generator"))
            check_classes(model, data, (*at, "generator"))
            if job.seed_data is not None:
                check_images(known[job.seed_data], data, (*at, "seed_data"))
            return replace(data, floats=job.store == "float16")
        case Evaluate():
            data, model = known[job.dataset], known[job.model]
            check_takes(model, data, (*at, "model"))
            check_classes(model, data, (*at, "model"))
            return replace(model, test=_least(data.test, job.max_images), side=data.side)
        case Features():
            data, model = known[job.dataset], known[job.model]
            check_takes(model, data, (*at, "model"))
            return replace(data, arch=model.arch, length=model.length)
        case Transfer():
            return _transfer(job, known, at)
        case Visualize():
            return _visualize(job, known, at)
        case ExportDataset():
            return known[job.dataset]
        case Probe():
            return _probe(job, known, at)
        case ComponentVisualizationReport():
            return Facts()
        case EmbedStego():
            data = known[job.dataset]
            return replace(data, classes=2, train=_twice(data.train), test=_twice(data.test), exact=True)
        case DetectStego():
            return _detect(job, known, at)
        case SteganalysisReport():
            tests = [known[ref].test for arm in job.arms for ref in arm.detections]
            pairs = min((n // 2 for n in tests if n is not None), default=None)
            return Facts(test=pairs)  # the image of its intervals is a pair
        case Report() | SourceModificationReport():
            tests = [known[ref].test for arm in job.arms for ref in arm.transfers]
            return Facts(test=min((n for n in tests if n is not None), default=None))
        case Simulate() | SimulateReport():  # no images
            return Facts()
        case WhichEpsReport():
            tests = [known[ref].test for amount in job.amounts for ref in amount.transfers]
            return Facts(test=min((n for n in tests if n is not None), default=None))
        case _:
            raise TypeError(f"no facts for a {type(job).__name__}")


def _dataset(job: Dataset, catalog: Mapping[str, Any] | None, at: tuple[str | int, ...]) -> Facts:
    if catalog is not None and job.name not in catalog and not job.download:
        names = ", ".join(sorted(catalog)) or "none"
        takes = f"a data set that a worker can read ({names}); others go under ROBXFER_DATA_ROOT"
        raise SpecError([Problem(place((*at, "name")), show(job.name), takes)])
    entry = (catalog or {}).get(job.name, {})
    classes, shape = entry.get("classes"), entry.get("shape")
    if entry and shape is None and job.size is None:
        takes = "a side in pixels, since the images of this set differ in size"
        raise SpecError([Problem(place((*at, "size")), "nothing", takes)])
    if job.classes is not None:
        wrong = [c for c in job.classes if c < 0 or (classes is not None and c >= classes)]
        if wrong or len(set(job.classes)) != len(job.classes):
            takes = f"different classes from 0 to {classes - 1 if classes else 'K - 1'}"
            raise SpecError([Problem(place((*at, "classes")), show(job.classes), takes)])
    share = len(job.classes) / classes if job.classes is not None and classes else 1.0
    return Facts(
        channels=shape[0] if shape else 3 if entry else None,
        side=job.size or (shape[1] if shape else None),
        classes=len(job.classes) if job.classes is not None else classes,
        train=_least(_part(entry.get("train"), share), job.max_train),
        test=_least(_part(entry.get("test"), share), job.max_test),
    )


def _train(job: Train, known: Mapping[str, Facts], at: tuple[str | int, ...]) -> Facts:
    data = known[job.dataset]
    side, smallest = job.arch.input_size or data.side, LAYOUTS[job.arch.name].smallest
    if side is not None and side < smallest:
        takes = f"images of at least {smallest}x{smallest} for {job.arch.name} (`arch.input_size` resizes them)"
        raise SpecError([Problem(place((*at, "arch")), f"{side}x{side} images of {job.dataset}", takes)])
    if data.channels is not None and data.channels not in CHANNELS:
        takes = f"images of {' or '.join(map(str, CHANNELS))} channels"
        raise SpecError([Problem(place((*at, "dataset")), f"{data.channels} channels", takes)])
    check_takes(Facts(side=side), data, (*at, "arch", "input_size"))
    if job.init is not None:
        start = known[job.init]
        if start.arch is not None and (start.arch.name, start.arch.width) != (job.arch.name, job.arch.width):
            got = f"{start.arch.name} of width {start.arch.width:g}"
            raise SpecError([Problem(place((*at, "init")), got, f"a {job.arch.name} of width {job.arch.width:g}")])
        check_takes(start, data, (*at, "init"))
    channels = known[job.init].channels if job.init is not None else data.channels
    return replace(data, channels=channels, side=side, arch=job.arch, length=representation(job.arch))


def _visualize(job: Visualize, known: Mapping[str, Facts], at: tuple[str | int, ...]) -> Facts:
    data, model = known[job.dataset], known[job.model]
    check_takes(model, data, (*at, "model"))
    if job.judge is not None:
        check_takes(known[job.judge], data, (*at, "judge"))
        if job.judge == job.model:
            raise SpecError([Problem(place((*at, "judge")), f"{show(job.judge)}, the model itself", "another network")])
    fewest, field = (FEWEST, "dataset") if job.mode == "component" else (job.made, "images")
    if data.test is not None and data.test < fewest:
        takes = f"a set of at least {fewest} test images"
        raise SpecError([Problem(place((*at, field)), f"{job.dataset} with {data.test}", takes)])
    if job.mode == "component" and data.side is not None and data.side < SMALLEST:
        takes = f"images of at least {SMALLEST}x{SMALLEST}"
        raise SpecError([Problem(place((*at, "dataset")), f"{data.side}x{data.side} images", takes)])
    longest = max((c + 1 for c in job.components), default=0) if job.components is not None else job.made
    if job.mode == "component" and model.length is not None and longest > model.length:
        field = "count" if job.components is None else "components"
        takes = f"components of a representation of length {model.length}: 0 to {model.length - 1}"
        raise SpecError([Problem(place((*at, field)), show(job.components or job.made), takes)])
    return replace(data, arch=model.arch, length=model.length)


def _transfer(job: Transfer, known: Mapping[str, Facts], at: tuple[str | int, ...]) -> Facts:
    model = known[job.model] if job.model is not None else None
    data = known[job.dataset] if job.dataset is not None else None
    if model is not None and data is not None:
        check_takes(model, data, (*at, "model"))
        blocks = sum(LAYOUTS[model.arch.name].blocks) if model.arch is not None else job.unfrozen_blocks
        if job.unfrozen_blocks > blocks:
            got, takes = str(job.unfrozen_blocks), f"at most {blocks}, the blocks of the network"
            raise SpecError([Problem(place((*at, "unfrozen_blocks")), got, takes)])
    if job.features is not None:
        found = known[job.features]
        if job.clean is not None:
            check_features(found, known[job.clean], (*at, "clean"))
        if model is not None and data is not None:
            check_features(found, replace(data, length=model.length), (*at, "model"))
        found = replace(found, channels=data.channels if data else None, side=data.side if data else None)
    else:
        assert model is not None  # the spec's own check: `features`, or `model` and `dataset`
        assert data is not None
        found = replace(data, arch=model.arch, length=model.length)
        if job.clean_dataset is not None:
            check_task(data, known[job.clean_dataset], (*at, "clean_dataset"))
    if job.images_per_class is not None and found.classes is not None:
        drawn = job.images_per_class * found.classes
        if found.train is not None and drawn > found.train:
            takes = f"at most {found.train // found.classes}, the training images there are of a class"
            raise SpecError([Problem(place((*at, "images_per_class")), str(job.images_per_class), takes)])
        found = replace(found, train=drawn)
    for index, size in enumerate(job.sizes):
        if found.train is not None and size > found.train:
            takes = f"at most {found.train}, the training images there are"
            raise SpecError([Problem(place((*at, "sizes", index)), str(size), takes)])
    return found


def _probe(job: Probe, known: Mapping[str, Facts], at: tuple[str | int, ...]) -> Facts:
    if job.features is not None:
        features = known[job.features]
        if job.measure == "knn" and features.train is not None and max(job.k) > features.train:
            takes = f"at most {features.train}, the training images there are"
            raise SpecError([Problem(place((*at, "k")), str(max(job.k)), takes)])
        return features
    data, model = known[job.dataset or ""], known[job.model or ""]
    for field in ("model", "other"):
        if (ref := getattr(job, field)) is not None:
            check_takes(known[ref], data, (*at, field))
    if job.components is not None and model.length is not None and job.components > model.length:
        takes = f"at most {model.length}, the length of the model's representation"
        raise SpecError([Problem(place((*at, "components")), str(job.components), takes)])
    for index, ref in enumerate(job.also):
        other = known[ref]
        check_takes(model, other, (*at, "also", index))
        if None not in (other.classes, data.classes) and other.classes != data.classes:
            takes = f"a set of the {data.classes} classes of `dataset`"
            raise SpecError([Problem(place((*at, "also", index)), f"a set of {other.classes} classes", takes)])
    return replace(model, train=data.train, test=data.test, side=data.side)


def _detect(job: DetectStego, known: Mapping[str, Facts], at: tuple[str | int, ...]) -> Facts:
    if job.features is not None:
        if not known[job.features].exact:
            takes = "features of a set by embed_stego"
            raise SpecError([Problem(place((*at, "features")), f"{show(job.features)}, of another set", takes)])
        return known[job.features]
    assert job.model is not None  # its validation says so
    assert job.dataset is not None
    data, model = known[job.dataset], known[job.model]
    check_takes(model, data, (*at, "model"))
    check_classes(model, data, (*at, "model"))
    return replace(model, train=data.train, test=data.test)


def _twice(count: int | None) -> int | None:
    return None if count is None else 2 * count


def _part(count: int | None, share: float) -> int | None:
    return None if count is None else max(1, round(count * share))


def _least(count: int | None, limit: int | None) -> int | None:
    return min((n for n in (count, limit) if n is not None), default=None)
