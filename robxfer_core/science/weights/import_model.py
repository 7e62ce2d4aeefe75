"""Kind `import_model`: uploaded weights, checked, become the artifact that `train` leaves."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from robxfer_core.jobs.fetch import FetchResult
from robxfer_core.jobs.import_model import ROBUST_IMAGES, ROBUST_STEPS, ImportModel, ImportModelResult
from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.science import models
from robxfer_core.science.attacks.evaluate import correct, share
from robxfer_core.science.data.artifact import Images, load
from robxfer_core.science.data.uploads.archive import ZIP, open_zip
from robxfer_core.science.data.uploads.dataset import upload
from robxfer_core.science.data.uploads.refusal import BadUpload
from robxfer_core.science.models.files import blank, fill
from robxfer_core.science.support.seeds import derive
from robxfer_core.spec.archs import CHANNELS, LAYOUTS, representation
from robxfer_core.spec.datasets import MOMENTS
from robxfer_core.spec.fields import Attack, ThreatModel

from .mapping import TensorNames, check_fit, names_of, with_counts

HEADER_BYTES = 16 << 20
"""Of a .safetensors file: names and shapes."""
SLACK = 4
"""How many times as large as its weights a checkpoint may be: an optimiser keeps two more copies."""
CLASSES = 100_000
PICKLE = b"\x80\x02"


def import_model(spec: ImportModel, inputs: Inputs, run: Run) -> ImportModelResult:
    """Leave model.safetensors, model.json and mapping.json of the file's weights, measured on the data set if any.

    Raises BadUpload, which says what is wrong, naming both sides where the weights are not the network's.
    """
    path, source = _file(spec, inputs)
    _check_size(path, spec)
    stored = _read(path)
    names = names_of(stored)
    for line in names.lines():
        run.log(line)
    tensors = _tensors(stored, names)
    classes, channels = _shape_of(tensors, spec)
    data = load(inputs.one("dataset").path, "test") if spec.dataset is not None else None
    if data is not None and (len(data.classes) != classes or data.x.shape[1] > channels):
        got = f"{data.name}, of {len(data.classes)} classes and {data.x.shape[1]} channels"
        raise BadUpload("dataset", got, f"one of the network's {classes} classes and {channels} channels")
    mean, std = _moments(stored, spec, channels, data.name if data is not None else "")
    network = blank(spec.arch, classes, channels, spec.side or 0)
    tensors = with_counts(network, tensors)
    check_fit(
        network, tensors, names, f"those of {spec.arch.name} of width {spec.arch.width:g}"
    )  # before any is copied
    fill(network, {name: _plain(tensor) for name, tensor in tensors.items()}, mean, std)
    _check_numbers(network, spec)
    names.write(run.out)
    run.log(f"{spec.arch.name} of {classes} classes, {channels} channels")
    accuracy = _measured(network.to(run.device), data, spec, run) if data is not None else None
    card = models.save(
        network, run.out, threat=spec.threat, seed=spec.seed, epochs=None, source=source, accuracy=accuracy
    )
    return ImportModelResult(model=card, names=names.lines())


def _file(spec: ImportModel, inputs: Inputs) -> tuple[Path, str]:
    """The weights' file, and where it comes from."""
    if spec.file is None:
        return upload(inputs), f"an upload of sha256 {spec.upload}"
    folder = inputs.one("file").path
    fetched = FetchResult.read(folder)
    return folder / fetched.file, f"{fetched.source[:300]}, sha256 {fetched.sha256}"


def _measured(network: models.Network, data: Images, spec: ImportModel, run: Run) -> models.Accuracy:
    """Clean accuracy on all test images; robust accuracy, in the threat model of the training, on the first of them."""
    attacked = min(ROBUST_IMAGES, len(data.y)) if spec.threat.eps > 0 else 0
    total, attack = len(data.y) + attacked, Attack(steps=ROBUST_STEPS)

    def right(images: int, threat: ThreatModel, before: int) -> float:
        x, y = data.x[:images], data.y[:images]
        outcome = correct(
            network, x, y, threat, attack, seed=derive(spec.seed, "attack"),
            progress=lambda done: run.progress(before + done, total, "images"),
        )  # fmt: skip
        return share(outcome)

    clean = right(len(data.y), ThreatModel(eps=0.0), 0)
    robust = right(attacked, spec.threat, len(data.y)) if attacked else None
    how = f"PGD, {ROBUST_STEPS} steps, the first {attacked} images" if attacked else ""
    run.log(f"clean accuracy on the test split of {data.name}: {clean:.4f}" + (f", robust {robust:.4f}" if how else ""))
    return models.Accuracy(dataset=f"{data.name}, test split", n=len(data.y), clean=clean, robust=robust, attack=how)


def _check_size(path: Path, spec: ImportModel) -> None:
    needs = 4 * sum(tensor.numel() for tensor in blank(spec.arch, 1000, 3, spec.side or 0).state_dict().values())
    most = SLACK * needs + HEADER_BYTES
    if path.stat().st_size > most:
        takes = f"at most {most}, {SLACK} times the weights of {spec.arch.name} of width {spec.arch.width:g}"
        raise BadUpload("the file", f"{path.stat().st_size} bytes", takes)


def _read(path: Path) -> dict[str, Any]:
    """The file's state dict, as it names things. No code in it is run, whatever it is."""
    with path.open("rb") as file:
        head = file.read(16)
        if head[:4] in ZIP:
            _check_stored(path)
            return _torch(path)
        if head[:2] == PICKLE:
            return _torch(path)
        length = int.from_bytes(head[:8], "little")
        if len(head) < 16 or head[8:9] != b"{":
            raise BadUpload("the file", f"bytes that begin with {head[:8].hex(' ')}", "a .safetensors or PyTorch file")
        if length > HEADER_BYTES:
            raise BadUpload("the header", f"{length} bytes", f"at most {HEADER_BYTES}")
    try:
        return dict(load_file(path))
    except (SafetensorError, ValueError, KeyError) as error:
        raise BadUpload("the file", f"a broken one ({error})", "a .safetensors file") from error


def _check_stored(path: Path) -> None:
    # PyTorch stores without compression; its reader would inflate whatever it is told to.
    with path.open("rb") as file:
        try:
            with open_zip(file) as archive:
                packed = [each for each in archive.infolist() if each.compress_type != zipfile.ZIP_STORED]
        except zipfile.BadZipFile as error:
            raise BadUpload("the file", f"a broken one ({error})", "a PyTorch file") from error
    if packed:
        raise BadUpload(packed[0].orig_filename, "compressed weights", "a file as torch.save writes it")


def _torch(path: Path) -> dict[str, Any]:
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile pickle makes the reader raise anything; it runs none of it
        reason = " ".join(str(error).split())[:400]
        takes = "a state dict of tensors: others are never unpickled, since a pickle can run any code"
        raise BadUpload("the file", f"what weights_only refuses ({type(error).__name__}: {reason})", takes) from error
    for field in ("state_dict", "model"):
        if isinstance(stored, Mapping) and isinstance(stored.get(field), Mapping):
            stored = stored[field]
    if not isinstance(stored, Mapping) or not all(isinstance(name, str) for name in stored):
        raise BadUpload("the file", f"a {type(stored).__name__}", "a state dict, plain or under state_dict or model")
    return dict(stored)


def _tensors(stored: Mapping[str, Any], names: TensorNames) -> dict[str, Tensor]:
    """The tensors that are taken, by our names."""
    for theirs in names.taken.values():
        tensor = stored[theirs]
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise BadUpload(theirs, f"a {type(tensor).__name__} that is no plain tensor", "dense tensors")
    found: dict[str, Tensor] = {ours: stored[theirs] for ours, theirs in names.taken.items()}
    _check_views(found)
    return found


def _check_views(tensors: Mapping[str, Tensor]) -> None:
    """Refuse views of a few numbers as many: by a stride of 0, or of one storage over and over."""
    says = sum(tensor.nbytes for tensor in tensors.values())
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors.values()}
    if says > sum(storages.values()):
        raise BadUpload(
            "the weights", f"{says} bytes out of {sum(storages.values())} stored", "each weight stored once"
        )


def _shape_of(tensors: Mapping[str, Tensor], spec: ImportModel) -> tuple[int, int]:
    """Classes, by the head, and channels, by the first convolution."""
    first = "body.conv1.weight" if LAYOUTS[spec.arch.name].stem != "none" else "body.layer1.0.conv1.weight"
    lacking = [name for name in ("head.weight", first) if name not in tensors]
    if lacking:
        got = f"no {lacking[0].removeprefix('body.')} among {len(tensors)} tensors"
        raise BadUpload("the weights", got, f"those of {spec.arch.name}, with a head named fc, linear or head")
    head, stem = tensors["head.weight"].shape, tensors[first].shape
    if len(head) != 2 or not 2 <= head[0] <= CLASSES or head[1] != representation(spec.arch):
        takes = (
            f"[2 to {CLASSES} classes, {representation(spec.arch)}] for {spec.arch.name} of width {spec.arch.width:g}"
        )
        raise BadUpload("head.weight", str(list(head)), takes)
    if len(stem) != 4 or stem[1] not in CHANNELS:
        raise BadUpload(first.removeprefix("body."), str(list(stem)), "a convolution of images of 1 or 3 channels")
    return head[0], stem[1]


def _moments(
    stored: Mapping[str, Any], spec: ImportModel, channels: int, dataset: str
) -> tuple[list[float], list[float]]:
    """Mean and std that the network normalises by: as the spec says, else the file, else what the data set's are."""
    if spec.mean is not None and spec.std is not None:
        given = spec.mean, spec.std
    elif spec.moments is not None:
        given = MOMENTS[spec.moments]
    else:
        given = _in_file(stored) or MOMENTS.get(dataset)
    if given is None:
        raise BadUpload("mean and std", "nothing, and the file has none", "mean and std, or moments")
    mean, std = given
    if len(mean) != channels or len(std) != channels or not min(std) > 0:
        raise BadUpload(
            "mean and std", f"{mean} and {std}", f"{channels} of each, a channel of the images, std above 0"
        )
    return mean, std


def _in_file(stored: Mapping[str, Any]) -> tuple[list[float], list[float]] | None:
    found = {}
    for name, tensor in stored.items():
        if isinstance(tensor, Tensor) and "normalizer.new_" in name and tensor.numel() <= 3:
            found[name.rpartition("new_")[2]] = tensor.flatten().tolist()
    return (found["mean"], found["std"]) if {"mean", "std"} <= found.keys() else None


def _plain(tensor: Tensor) -> Tensor:
    """float32, whatever the precision that it was stored in; a count as it is."""
    return tensor.detach().to(torch.float32).contiguous() if tensor.is_floating_point() else tensor


def _check_numbers(network: models.Network, spec: ImportModel) -> None:
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise BadUpload(name, "NaN or infinity", "finite weights")
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise BadUpload(name, "a variance below 0", "variances of 0 or more")
    side = spec.side or 0
    with torch.no_grad():
        logits = network(torch.linspace(0, 1, 2 * network.channels * side**2).view(2, network.channels, side, side))
    if not bool(logits.isfinite().all()):
        raise BadUpload("the weights", "outputs that are not finite", "a network that computes")
