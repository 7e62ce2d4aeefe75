"""Facts of the architectures, as published; tests/science/test_models.py compares them with real modules."""

import sys
from subprocess import run
from typing import get_args

import pytest

from robxfer_core.spec import archs
from robxfer_core.spec.fields import Arch, ArchName


def test_every_name_has_a_layout() -> None:
    assert set(archs.LAYOUTS) == set(get_args(ArchName))


@pytest.mark.parametrize(
    ("name", "width", "r"),
    [("cnn", 0.75, 48), ("resnet18", 1.0, 512), ("resnet50", 1.0, 2048), ("cifar_resnet56", 1.0, 64), ("cnn", 0.01, 4)],
)
def test_representation(name: ArchName, width: float, r: int) -> None:
    assert archs.representation(Arch(name=name, width=width)) == r


@pytest.mark.parametrize(
    ("name", "size", "classes", "gmacs"),
    # Multiply-adds as published: torchvision's model pages (1.81, 4.09), He et al. 2016 (CIFAR ResNet-20: 41 M).
    [
        ("resnet18", 224, 1000, 1.81),
        ("resnet50", 224, 1000, 4.09),
        ("wide_resnet50_2", 224, 1000, 11.40),
        ("resnext50_32x4d", 224, 1000, 4.23),
        ("cifar_resnet20", 32, 10, 0.0408),
    ],
)
def test_published_costs(name: ArchName, size: int, classes: int, gmacs: float) -> None:
    assert archs.forward_flops(Arch(name=name), 3, size, classes) == pytest.approx(2e9 * gmacs, rel=0.01)


@pytest.mark.parametrize(
    ("name", "classes", "published"),
    # Parameters as torchvision's model pages have them, which count batch norm's too.
    [("resnet18", 1000, 11_689_512), ("resnet50", 1000, 25_557_032), ("resnext50_32x4d", 1000, 25_028_904)],
)
def test_weights_are_the_published_ones(name: ArchName, classes: int, published: int) -> None:
    assert archs.weights(Arch(name=name, input_size=224), 3, classes) == pytest.approx(published, rel=0.005)


def test_cost_is_that_of_the_size_computed_on() -> None:
    fixed = Arch(name="cnn", input_size=16)
    assert archs.forward_flops(fixed, 1, 8) == archs.forward_flops(Arch(name="cnn"), 1, 16)


def test_without_torch() -> None:
    code = (
        "import sys; from robxfer_core.spec import archs, datasets; from robxfer_core.jobs import compute, run;"
        "from robxfer_core.science.support import seeds;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'torchvision', 'numpy', 'PIL')))"
    )
    assert run([sys.executable, "-c", code], check=False).returncode == 0
