"""Uploaded weights: what is right becomes a model with a card, what is hostile is refused and leaves nothing."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save

from robxfer_core.jobs.compute import compute
from robxfer_core.jobs.run import Input, Inputs, LocalRun
from robxfer_core.science import models
from robxfer_core.science.data.artifact import load
from robxfer_core.science.data.uploads.refusal import BadUpload
from robxfer_core.science.support.pixels import to_unit
from robxfer_core.science.weights.mapping import names_of
from robxfer_core.spec.fields import Arch

from .uploads import CNN, SET, SHA, Bomb, network, npz, refused, run_import, saved, tarred, weights, zipped


@pytest.mark.parametrize("wrapped", ["plain", "state_dict", "model", "module", "legacy", "half", "torchvision"])
def test_weights_become_a_model(tmp_path: Path, wrapped: str) -> None:
    state = weights()
    made: dict[str, Callable[[], bytes]] = {
        "plain": lambda: save(state),
        "state_dict": lambda: saved({"state_dict": state, "epoch": 3}),
        "model": lambda: saved({"model": state, "optimizer": {"lr": 0.1}}),
        "module": lambda: saved({f"module.{name}": tensor for name, tensor in state.items()}),
        "legacy": lambda: saved(state, _use_new_zipfile_serialization=False),
        "half": lambda: save({n: t.half() if t.is_floating_point() else t for n, t in state.items()}),
        "torchvision": lambda: save(
            {n.replace("body.", "").replace("head.", "fc."): t for n, t in state.items() if "num_batches" not in n}
        ),
    }
    run = run_import(tmp_path, "import_model", made[wrapped](), {**CNN, "threat": {"norm": "l2", "eps": 0.5}})
    loaded, x = models.load(run.out), torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(loaded(x), network().eval()(x), atol=2e-2 if wrapped == "half" else 1e-6, rtol=1e-4)
    card = models.read_card(run.out)
    assert (card.name, card.epochs, card.classes, card.channels) == ("cnn.l2_eps0.5", None, 3, 1)


def test_the_robustness_librarys_layout_brings_its_own_normalisation(tmp_path: Path) -> None:
    state = network(3).state_dict()
    theirs = {n.replace("body.", "").replace("head.", "fc."): t for n, t in state.items()}
    stored: dict[str, Any] = {f"module.model.{n}": t for n, t in theirs.items()}
    stored |= {f"module.attacker.model.{n}": t for n, t in theirs.items()}
    for part in ("normalizer", "attacker.normalize"):
        stored |= {f"module.{part}.new_mean": torch.full((3, 1, 1), 0.4), f"module.{part}.new_std": torch.ones(3, 1, 1)}
    run = run_import(tmp_path, "import_model", saved({"model": stored, "epoch": 90}), {"arch": CNN["arch"]})
    assert models.read_card(run.out).mean == pytest.approx([0.4] * 3)


def robustness_file(classes: int = 1000) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A ResNet-18's checkpoint in the layout of the robustness library, and the weights by torchvision's names."""
    theirs = torchvision.models.resnet18(num_classes=classes).state_dict()
    stored: dict[str, Any] = {}
    for name, tensor in theirs.items():
        stored[f"module.model.{name}"] = stored[f"module.attacker.model.{name}"] = tensor
    for part in ("normalizer", "attacker.normalize"):
        stored |= {f"module.{part}.new_mean": torch.full((3, 1, 1), 0.4), f"module.{part}.new_std": torch.ones(3, 1, 1)}
    return stored, theirs


def test_the_mapping_of_names_is_told_before_weights_are_loaded(tmp_path: Path) -> None:
    stored, theirs = robustness_file()
    names = names_of(stored)
    assert (len(stored), len(names.taken), len(names.dropped)) == (248, 122, 126)  # as such files have
    assert {ours.replace("body.", "").replace("head.", "fc.") for ours in names.taken} == set(theirs)
    lines = names.lines()
    assert lines[:3] == [
        "122 of 248 tensors of the file are taken",
        "renamed: module.model.* -> body.* (120)",
        "renamed: module.model.fc.* -> head.* (2)",
    ]
    assert "dropped: module.attacker.* (122): a second copy of the weights" in lines
    wrong = {**CNN, "arch": {"name": "resnet18", "width": 0.5}}
    run = LocalRun(tmp_path / "attempt")
    (tmp_path / "upload").write_bytes(saved({"model": stored}))
    with pytest.raises(BadUpload, match=r"head.weight|the file: got"):
        compute("import_model", {"upload": SHA, **wrong}, Inputs({"upload": [Input(tmp_path, SHA)]}), run)
    assert run.lines == lines


def test_names_of_the_robustness_librarys_cifar_networks(tmp_path: Path) -> None:
    arch = {"name": "resnet18_cifar", "width": 0.0625}
    made = models.build(Arch.model_validate(arch), 10, 3, 32, [0.5] * 3, [0.25] * 3, 1)
    stored = {
        "module.model." + n.replace("body.", "").replace("head.", "linear.").replace(".downsample.", ".shortcut."): t
        for n, t in made.state_dict().items()
    }
    stored |= {"module.normalizer.new_mean": torch.full((3,), 0.5), "module.normalizer.new_std": torch.full((3,), 0.25)}
    run = run_import(tmp_path, "import_model", saved({"state_dict": stored}), {"arch": arch})
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(models.load(run.out)(x), made.eval()(x), atol=1e-6, rtol=1e-4)
    told = json.loads((run.out / "mapping.json").read_text())
    assert told["taken"]["module.model.layer2.0.shortcut.0.weight"] == "body.layer2.0.downsample.0.weight"
    assert set(told["taken"]) | set(told["dropped"]) == set(stored)


@pytest.mark.parametrize("eps", [0.0, 0.5])
def test_a_model_card_says_what_was_measured(tmp_path: Path, eps: float) -> None:
    data = run_import(tmp_path / "d", "import_dataset", npz(), SET)
    (tmp_path / "upload").write_bytes(save(weights()))
    params = {"upload": SHA, "dataset": "d" * 64, "threat": {"eps": eps}, **CNN}
    run = LocalRun(tmp_path / "attempt")
    given = Inputs({"upload": [Input(tmp_path, SHA)], "dataset": [Input(data.out, "d" * 64)]})
    compute("import_model", params, given, run)
    card = models.read_card(run.out)
    images = load(data.out, "test")
    with torch.no_grad():
        right = models.load(run.out)(to_unit(images.x)).argmax(1) == images.y
    assert card.accuracy is not None
    assert (card.accuracy.n, card.accuracy.clean) == (3, pytest.approx(right.float().mean().item()))
    assert (card.accuracy.robust is None) == (eps == 0)
    assert card.source == f"an upload of sha256 {SHA}"


def test_a_model_is_measured_on_a_set_of_its_own_classes(tmp_path: Path) -> None:
    data = run_import(tmp_path / "d", "import_dataset", npz(), SET)
    (tmp_path / "upload").write_bytes(
        save({name: tensor.contiguous() for name, tensor in network(1, 4).state_dict().items()})
    )
    given = Inputs({"upload": [Input(tmp_path, SHA)], "dataset": [Input(data.out, "d" * 64)]})
    with pytest.raises(BadUpload, match=r"dataset: got mine, of 3 classes .* takes one of the network's 4 classes"):
        compute("import_model", {"upload": SHA, "dataset": "d" * 64, **CNN}, given, LocalRun(tmp_path / "attempt"))


def test_a_normalisation_is_that_of_a_named_set_or_must_be_given(tmp_path: Path) -> None:
    run = run_import(tmp_path / "a", "import_model", save(weights()), {"arch": CNN["arch"], "moments": "mnist"})
    assert models.read_card(run.out).mean == pytest.approx([0.1307])
    refused(tmp_path / "b", "import_model", save(weights()), {"arch": CNN["arch"]}, "mean and std: got nothing")
    wrong = {"arch": CNN["arch"], "moments": "cifar10"}
    refused(tmp_path / "c", "import_model", save(weights()), wrong, "takes 1 of each")


def test_an_imported_model_is_evaluated_like_a_trained_one(tmp_path: Path) -> None:
    model = run_import(tmp_path / "m", "import_model", save(weights()), CNN)
    data = run_import(tmp_path / "d", "import_dataset", npz(), SET)
    run = LocalRun(tmp_path / "e")
    params = {"model": "k" * 64, "dataset": "k" * 64, "eps": [0.0, 0.5], "attack": {"steps": 1}}
    given = {"model": [Input(model.out, "k" * 64)], "dataset": [Input(data.out, "k" * 64)]}
    compute("evaluate", params, Inputs(given), run)
    assert (run.out / "result.json").is_file()


IMAGES = 2000


@pytest.mark.parametrize(("file", "accuracy"), [("resnet20-12fca82f.th", 0.9173), ("resnet56-4bfd9763.th", 0.9339)])
def test_published_cifar_networks_are_imported_with_their_accuracy(tmp_path: Path, file: str, accuracy: float) -> None:
    """Within 3 standard errors of 2,000 test images."""
    checkpoints, root = os.environ.get("ROBXFER_CHECKPOINTS"), os.environ.get("ROBXFER_DATA_ROOT")
    if not checkpoints or not root:
        pytest.skip("needs ROBXFER_CHECKPOINTS (with cifar_resnet/) and ROBXFER_DATA_ROOT (with cifar10.npz)")
    data = (Path(checkpoints) / "cifar_resnet" / file).read_bytes()
    params = {"arch": {"name": f"cifar_{file.split('-')[0]}"}, "moments": "imagenet"}
    loaded = models.load(run_import(tmp_path, "import_model", data, params).out)
    with np.load(Path(root) / "cifar10.npz") as arrays:
        x, y = torch.from_numpy(arrays["x_test"][:IMAGES]), torch.from_numpy(arrays["y_test"][:IMAGES])
    with torch.no_grad():
        right = loaded(x.permute(0, 3, 1, 2).float() / 255).argmax(1) == y
    assert right.float().mean().item() == pytest.approx(accuracy, abs=3 * (accuracy * (1 - accuracy) / IMAGES) ** 0.5)


# What is refused: weights.


def test_a_pickle_that_would_run_code_is_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    bomb = Bomb(ran)
    forms = [
        saved({"state_dict": weights(), "extra": bomb}),
        saved({"state_dict": weights(), "extra": bomb}, _use_new_zipfile_serialization=False),
        pickle.dumps(bomb, protocol=2),
        pickle.dumps(bomb),
        tarred({"pickle": pickle.dumps(bomb)}),
    ]
    for data in forms:
        refused(tmp_path, "import_model", data, CNN, "weights_only refuses|begin with")
    assert not ran.exists()
    pickle.loads(forms[3])  # it would have
    assert ran.exists()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"head.weight": torch.full((3, 16), float("nan"))}, r"head\.weight: got NaN"),
        ({"head.bias": torch.tensor([0.0, float("inf"), 0.0])}, r"head\.bias: got NaN or inf"),
        ({"head.bias": torch.full((3,), 1e300, dtype=torch.float64)}, "NaN or inf"),
        ({"head.bias": torch.zeros(4)}, r"its head.bias is .*\[4\], head.bias there is .*\[3\]"),
        ({"head.bias": None}, r"it lacks head.bias \[3\]"),
        ({"head.bias": torch.zeros(3, dtype=torch.int64)}, r"its head.bias is torch.int64"),
        ({"head.weight": None}, r"no head\.weight"),
        ({"head.weight": torch.zeros(3, 17)}, r"takes \[2 to"),
        ({"head.weight": torch.zeros(1, 16)}, r"takes \[2 to"),
        ({"body.stray": torch.zeros(3)}, r"its body.stray \[3\] has no place there"),
        ({"fc.bias": torch.zeros(3)}, "second tensor"),
        ({"body.layer1.0.bn1.running_var": torch.full((4,), -1.0)}, "variance below 0"),
        ({"body.layer1.0.bn1.weight": torch.full((4,), 3e38)}, "outputs that are not finite"),
        ({"body.layer1.0.conv1.weight": torch.zeros(4, 2, 3, 3)}, "1 or 3 channels"),
    ],
)
def test_weights_that_are_not_the_networks(tmp_path: Path, changed: dict[str, Any], reason: str) -> None:
    refused(tmp_path, "import_model", save(weights(**changed)), CNN, reason)


def test_files_that_hold_no_weights_or_too_much(tmp_path: Path) -> None:
    good = save(weights())
    (length,) = struct.unpack("<Q", good[:8])
    names = good[8 : 8 + length].decode()
    first = names.index('"data_offsets":[') + len('"data_offsets":[')
    overlapping = names[:first] + "8" + names[first + 1 :]
    cases: list[tuple[bytes, str]] = [
        (struct.pack("<Q", 1 << 40) + good[8:], "header: got"),
        (struct.pack("<Q", 15 << 20) + good[8:], "broken"),
        (good[:8] + overlapping.encode() + good[8 + length :], "broken"),
        (good[: len(good) // 2], "broken"),
        (good + b"more", "broken"),
        (saved([1, 2, 3]), "a list"),
        (saved({"epoch": 1}), "no plain tensor"),
        (saved({"model": weights()["head.bias"]}), "no head"),
        (saved(weights(**{"head.bias": torch.zeros(3).to_sparse()})), "no plain tensor"),
        (saved(weights(**{"head.bias": torch.zeros(3, device="meta")})), "no plain tensor|weights_only"),
        (saved(weights())[:5000], "broken|weights_only|no end"),
        (zipped({"archive/data.pkl": b"\x80\x02."}), "compressed weights"),
        (os.urandom(40 << 20), "the file: got"),
        (b"", "begin with"),
        (b"<svg/>", "begin with"),
    ]
    for data, reason in cases:
        refused(tmp_path, "import_model", data, CNN, reason)


def test_a_view_of_a_few_numbers_is_no_tensor_of_many(tmp_path: Path) -> None:
    """By a stride of 0, which says a size that no file has, or since several tensors are of the same numbers."""
    few, name = torch.zeros(1, dtype=torch.half), "body.layer1.0.bn1.weight"
    refused(tmp_path, "import_model", saved(weights(**{name: few.expand(1 << 40)})), CNN, "each weight stored once")
    refused(tmp_path, "import_model", saved(weights(**{name: few.expand(4)})), CNN, "each weight stored once")
    shared = {each: torch.zeros(4) for each in (name, "body.layer1.0.bn1.bias")}
    assert run_import(tmp_path / "own", "import_model", saved(weights(**shared)), CNN)
    shared = dict.fromkeys(shared, torch.zeros(4))
    refused(tmp_path / "one", "import_model", saved(weights(**shared)), CNN, "each weight stored once")
    together = torch.zeros(8)  # of one storage, as an optimiser that flattens them leaves them
    flat = dict(zip(shared, together.split(4), strict=True))
    assert run_import(tmp_path / "flat", "import_model", saved(weights(**flat)), CNN)


def test_weights_of_another_network(tmp_path: Path) -> None:
    other = {**CNN, "arch": {"name": "cifar_resnet20"}}
    refused(tmp_path, "import_model", save(weights()), other, r"no conv1\.weight|takes \[2 to")
    wide = {**CNN, "arch": {**CNN["arch"], "width": 0.5}}
    refused(tmp_path, "import_model", save(weights()), wide, r"takes \[2 to")


def test_an_upload_that_was_removed_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadUpload, match="upload it again"):
        compute("import_model", {"upload": SHA, **CNN}, Inputs({}), LocalRun(tmp_path))
