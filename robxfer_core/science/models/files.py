"""Networks on disk: model.safetensors and model.json, checked against each other before anything is built."""

from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from robxfer_core.jobs.results import Accuracy, ModelCard
from robxfer_core.spec.archs import representation
from robxfer_core.spec.fields import Arch, ThreatModel

from .network import Network

CARD_BYTES = 64 * 1024


class BadModel(ValueError):
    """Files that are no model of ours, or do not belong together."""


def model_name(arch: Arch, threat: ThreatModel, epochs: int | None) -> str:
    """`cnn.l2_eps0.5`; `cnn.random_init` for a network that was not trained."""
    return f"{arch.name}.random_init" if epochs == 0 else f"{arch.name}.{threat.norm}_eps{threat.eps:g}"


def save(
    network: Network,
    folder: Path,
    *,
    threat: ThreatModel,
    seed: int,
    epochs: int | None,
    source: str = "",
    accuracy: Accuracy | None = None,
) -> ModelCard:
    """Write the network into a folder. Returns its model.json."""
    card = ModelCard(
        arch=network.arch,
        classes=network.classes,
        channels=network.channels,
        input_size=network.input_size,
        mean=network.mean.flatten().tolist(),
        std=network.std.flatten().tolist(),
        representation=representation(network.arch),
        threat=threat,
        seed=seed,
        epochs=epochs,
        name=model_name(network.arch, threat, epochs),
        source=source,
        accuracy=accuracy,
    )
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "model.json").write_text(card.model_dump_json(indent=1))
    return card


def read_card(folder: Path) -> ModelCard:
    """The checked model.json of a folder. Raises BadModel."""
    path = folder / "model.json"
    try:
        with path.open("rb") as file:
            text = file.read(CARD_BYTES + 1)
        if len(text) > CARD_BYTES:
            raise BadModel(f"{path.name} is larger than {CARD_BYTES} bytes")
        card = ModelCard.model_validate_json(text)
    except ValidationError as error:
        raise BadModel(f"{path.name}: {error}") from error
    if not len(card.mean) == len(card.std) == card.channels or min(card.std) <= 0:
        raise BadModel(f"{path.name}: takes one mean and one std above 0 for each of {card.channels} channels")
    if card.representation != representation(card.arch):
        raise BadModel(
            f"{path.name}: representation {card.representation}; {card.arch.name} has {representation(card.arch)}"
        )
    return card


def load(folder: Path) -> Network:
    """The network of a folder, on the CPU, in eval mode. Raises BadModel where the two files do not fit."""
    card = read_card(folder)
    network = blank(card.arch, card.classes, card.channels, card.input_size)
    try:
        tensors = load_file(folder / "model.safetensors")
    except SafetensorError as error:
        raise BadModel(f"model.safetensors: {error}") from error
    return fill(network, tensors, card.mean, card.std)


def blank(arch: Arch, classes: int, channels: int, input_size: int) -> Network:
    """A network without memory for its weights, which a hostile description could ask for more of than there is."""
    with torch.device("meta"):
        return Network(arch, classes, channels, input_size, [0.0] * channels, [1.0] * channels)


def fill(network: Network, tensors: dict[str, torch.Tensor], mean: list[float], std: list[float]) -> Network:
    """Give a blank network its weights and its normalisation; in eval mode. Raises BadModel where they do not fit."""
    check_fit(network, tensors)
    network.load_state_dict(tensors, assign=True)
    network.mean = torch.tensor(mean).view(1, -1, 1, 1)
    network.std = torch.tensor(std).view(1, -1, 1, 1)
    return network.to(memory_format=torch.channels_last).eval()  # assigned tensors keep the layout of the file


def check_fit(network: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Raise BadModel, naming keys of both sides, unless the tensors are the network's by name, shape and type."""
    wanted = network.state_dict()
    problems = [f"lacks {name} {list(wanted[name].shape)}" for name in wanted if name not in tensors]
    problems += [f"has {name} {list(tensors[name].shape)}, unknown here" for name in tensors if name not in wanted]
    for name in wanted:
        if name in tensors:
            got, takes = tensors[name], wanted[name]
            if got.shape != takes.shape or got.dtype != takes.dtype:
                problems.append(f"{name} is {got.dtype} {list(got.shape)}; takes {takes.dtype} {list(takes.shape)}")
    if problems:
        more = f" and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise BadModel("the weights do not fit the network: " + "; ".join(problems[:10]) + more)
