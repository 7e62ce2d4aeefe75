"""Networks: equal to the published ones, deterministic, and safely kept on disk."""

import json
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from robxfer_core.science import models
from robxfer_core.spec import archs
from robxfer_core.spec.fields import Arch, ArchName, ThreatModel

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.25]
NAMES: list[ArchName] = list(archs.LAYOUTS)


def make(name: ArchName = "cnn", width: float = 0.25, size: int = 32, seed: int = 0, **rest: int) -> models.Network:
    return models.build(Arch(name=name, width=width, **rest), 7, 3, size, MEAN, STD, seed).eval()


def images(n: int = 2, channels: int = 3, size: int = 32) -> torch.Tensor:
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "wide_resnet50_2", "resnext50_32x4d"])
def test_outputs_are_torchvisions(name: ArchName) -> None:
    theirs = getattr(torchvision.models, name)(num_classes=7)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):  # not the start's zeros and ones
            module.running_mean = torch.randn_like(module.bias) / 10
            module.running_var = torch.rand_like(module.bias) + 0.5
    ours = make(name, width=1.0)
    state = {
        (k if k.startswith("fc.") else f"body.{k}").replace("fc.", "head."): v for k, v in theirs.state_dict().items()
    }
    ours.load_state_dict(state)
    x = images(size=96)
    ours.input_size = 96
    normal = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(ours(x), theirs.eval()(normal), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [0.25, 0.3])
def test_facts_are_those_of_the_modules(name: ArchName, width: float) -> None:
    network = make(name, width)
    flops = 0

    def count(module: nn.Module, args: tuple[torch.Tensor], out: torch.Tensor) -> None:
        nonlocal flops
        if isinstance(module, nn.Conv2d):
            flops += 2 * out[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            flops += 2 * module.weight.numel()

    for module in network.modules():
        module.register_forward_hook(count)
    x = images()
    assert network(x).shape == (2, 7)
    assert archs.forward_flops(network.arch, 3, 32, classes=7) == pytest.approx(flops, rel=0.02)
    assert network.represent(x).shape == (2, archs.representation(network.arch))


@pytest.mark.parametrize("name", NAMES)
def test_the_head_reads_the_representation(name: ArchName) -> None:
    network, x = make(name), images()
    assert torch.equal(network(x), network.head(network.represent(x)))


def test_width_multiplies_every_layer() -> None:
    narrow, wide = make("resnet50", 0.5), make("resnet50", 1.0)
    for (name, a), (_, b) in zip(narrow.body.named_parameters(), wide.body.named_parameters(), strict=True):
        assert b.shape[0] == 2 * a.shape[0], name


def test_equal_seeds_equal_weights_and_no_global_generator_moves() -> None:
    before = torch.get_rng_state()
    first, second, other = make(seed=3), make(seed=3), make(seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    x = images()
    assert torch.equal(first(x), second(x))
    assert not torch.equal(first(x), other(x))


def test_grey_images_are_repeated() -> None:
    network, grey = make(), images(channels=1)
    assert torch.equal(network(grey), network(grey.repeat(1, 3, 1, 1)))
    with pytest.raises(ValueError, match=r"takes \[N, 3 or 1"):
        network(images(channels=3)[:, :2])


def test_the_resize_passes_gradients() -> None:
    network = make(input_size=24)
    x = images(size=10).requires_grad_()
    (gradient,) = torch.autograd.grad(network(x).sum(), x)
    assert gradient.shape == x.shape
    assert bool((gradient != 0).any(dim=1).all())
    resized = nn.functional.interpolate(x, (24, 24), mode="bilinear")
    torch.testing.assert_close(network(x), network(resized))


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    network = make("cifar_resnet20", input_size=20)
    card = models.save(network, tmp_path, threat=ThreatModel(eps=0.5), seed=2, epochs=3)
    loaded = models.load(tmp_path)
    assert torch.equal(loaded(images()), network(images()))
    assert card.name == "cifar_resnet20.l2_eps0.5"
    assert json.loads((tmp_path / "model.json").read_text()) == card.model_dump(mode="json")
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert models.save(network, tmp_path, threat=ThreatModel(eps=0.0), seed=2, epochs=0).name.endswith(".random_init")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("arch", {"name": "cnn", "width": 0.5}),
        ("arch", {"name": "cnn", "width": 1e9}),
        ("arch", {"name": "../cnn"}),
        ("classes", 6),
        ("classes", "7"),
        ("representation", 17),
        ("std", [0.0, 1.0, 1.0]),
        ("mean", [0.5]),
        ("input_size", 10**9),
        ("pickle", "x"),
    ],
)
def test_a_model_json_that_lies_is_refused(tmp_path: Path, field: str, value: object) -> None:
    card = models.save(make(), tmp_path, threat=ThreatModel(eps=0.5), seed=2, epochs=3)
    (tmp_path / "model.json").write_text(json.dumps(card.model_dump(mode="json") | {field: value}))
    with pytest.raises(models.BadModel):
        models.load(tmp_path)


def test_misfits_are_named_from_both_sides(tmp_path: Path) -> None:
    models.save(make(), tmp_path, threat=ThreatModel(eps=0.5), seed=2, epochs=3)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["stray"] = tensors.pop("head.bias")
    tensors["head.weight"] = tensors["head.weight"].double()
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(models.BadModel, match=r"lacks head\.bias.*has stray.*head\.weight is torch\.float64"):
        models.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(models.BadModel, match="safetensors"):
        models.load(tmp_path)
