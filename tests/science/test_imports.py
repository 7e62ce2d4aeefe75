"""Uploads: what is right becomes the artifact that it should, what is hostile is refused and leaves nothing."""

import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from robxfer_core.science import models
from robxfer_core.science.data.artifact import load
from robxfer_core.science.imports import archive, dataset, guard, tars
from robxfer_core.science.imports.refusal import BadUpload
from robxfer_core.science.kinds import compute
from robxfer_core.science.run import Input, Inputs, LocalRun
from robxfer_core.spec.fields import Arch

SHA = "a" * 64
CNN: dict[str, Any] = {"arch": {"name": "cnn", "width": 0.25, "input_size": 8}, "mean": [0.5], "std": [0.25]}
SET = {"name": "mine"}
SIZED = {"name": "mine", "size": 8}


def run_import(tmp_path: Path, kind: str, data: bytes, params: dict[str, Any]) -> LocalRun:
    """Import a file as the worker would: the upload in a folder of its own, the attempt in another."""
    given = tmp_path / "given"
    given.mkdir(parents=True, exist_ok=True)
    (given / "upload").write_bytes(data)
    run = LocalRun(tmp_path / "attempt")
    compute(kind, {"upload": SHA, **params}, Inputs({"upload": [Input(given, SHA)]}), run)
    return run


def refused(tmp_path: Path, kind: str, data: bytes, params: dict[str, Any], match: str) -> None:
    """The import is refused for this reason, and neither the attempt nor what lies around it has any file more."""
    with pytest.raises(BadUpload, match=match) as told:
        run_import(tmp_path, kind, data, params)
    assert all(character.isprintable() for character in str(told.value))
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if not path.is_dir()) == [
        "given/upload"
    ]


def png(shade: int = 100, size: tuple[int, int] = (8, 8), mode: str = "RGB", form: str = "PNG") -> bytes:
    out = io.BytesIO()
    colour: Any = (shade, 0, 255 - shade) if mode == "RGB" else shade
    Image.new(mode, size, colour).save(out, form)
    return out.getvalue()


def images(top: str = "", splits: tuple[str, ...] = ("train", "test"), n: int = 4) -> dict[str, bytes]:
    return {
        f"{top}{split}/{name}/{i}.png": png(40 * i + 10 * (name == "cat"))
        for split in splits
        for name in ("cat", "dog")
        for i in range(n)
    }


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return out.getvalue()


def tarred(files: dict[str, bytes], *more: tuple[str, dict[str, Any]], mode: Any = "w") -> bytes:
    """more: (name, attributes) of members that are no plain files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as made:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
        for name, attributes in more:
            info = tarfile.TarInfo(name)
            for attribute, value in attributes.items():
                setattr(info, attribute, value)
            made.addfile(info)
    return out.getvalue()


def npz(**arrays: Any) -> bytes:
    made: dict[str, Any] = {
        "x_train": np.arange(6 * 64, dtype=np.uint8).reshape(6, 8, 8),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": np.zeros((3, 8, 8), np.uint8),
        "y_test": np.array([0, 1, 2]),
    }
    out = io.BytesIO()
    np.savez(out, **{name: value for name, value in (made | arrays).items() if value is not None})
    return out.getvalue()


def npz_deflated(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    with np.load(io.BytesIO(npz())) as made:
        every: dict[str, Any] = {name: made[name] for name in made} | arrays
    np.savez_compressed(out, **every)
    return out.getvalue()


def network(channels: int = 1, classes: int = 3) -> models.Network:
    return models.build(Arch(name="cnn", width=0.25), classes, channels, 8, [0.5] * channels, [0.25] * channels, 1)


def weights(**changed: Any) -> dict[str, torch.Tensor]:
    state = {name: tensor.contiguous() for name, tensor in network().state_dict().items()}
    return {name: tensor for name, tensor in (state | changed).items() if tensor is not None}


def saved(stored: Any, **how: Any) -> bytes:
    out = io.BytesIO()
    torch.save(stored, out, **how)
    return out.getvalue()


# What is taken.


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz", "pax"])
@pytest.mark.parametrize("top", ["", "pets/", "./"])
def test_archives_of_folders_become_a_data_set(tmp_path: Path, form: str, top: str) -> None:
    files = {**images(top), f"{top}README.txt": b"hello", f"{top}train/cat/.DS_Store": b"x", "__MACOSX/._x": b"y"}
    made: dict[str, Callable[[], bytes]] = {
        "zip": lambda: zipped(files),
        "tar": lambda: tarred(files),
        "tar.gz": lambda: tarred(files, mode="w:gz"),
        "pax": lambda: tarred({**files, f"{top}train/cat/{'long' * 40}-ünï.png": png()}),
    }
    run = run_import(tmp_path, "import_dataset", made[form](), {"name": "pets", "seed": 1})
    train, test = load(run.out, "train"), load(run.out, "test")
    assert (train.classes, train.name, len(train.y), len(test.y)) == (["cat", "dog"], "pets", 8 + (form == "pax"), 8)
    assert sorted(train.x[train.y == 0][:, 0, 0, 0].tolist())[:2] == [10, 50]
    assert [path.name for path in run.out.parent.iterdir()] == ["out"]  # nothing is left of what was unpacked
    assert "images of 2 classes" in run.lines[0]


def test_a_set_without_a_test_split_gets_one_and_val_serves_for_test(tmp_path: Path) -> None:
    run = run_import(tmp_path / "a", "import_dataset", zipped(images(splits=("train",))), SET)
    assert (len(load(run.out, "train").y), len(load(run.out, "test").y)) == (6, 2)
    run = run_import(tmp_path / "b", "import_dataset", zipped(images(splits=("train", "val"), n=3)), SET)
    assert (len(load(run.out, "train").y), len(load(run.out, "test").y)) == (6, 6)


def test_images_of_any_size_and_common_formats_are_brought_to_one(tmp_path: Path) -> None:
    files = images()
    files["train/cat/grey.png"] = png(7, (20, 10), "L")
    for form, suffix in (("JPEG", "jpg"), ("BMP", "bmp"), ("TIFF", "tif"), ("WEBP", "webp"), ("PPM", "ppm")):
        files[f"train/dog/x.{suffix}"] = png(50, (30, 12), form=form)
    run = run_import(tmp_path, "import_dataset", zipped(files), {**SET, "size": 12, "max_train": 10})
    assert tuple(load(run.out, "train").x.shape) == (10, 3, 12, 12)


@pytest.mark.parametrize("packed", [np.savez, np.savez_compressed])
def test_arrays_become_a_data_set(tmp_path: Path, packed: Callable[..., None]) -> None:
    out = io.BytesIO()
    with np.load(io.BytesIO(npz())) as arrays:
        packed(out, **arrays)
        run = run_import(tmp_path, "import_dataset", out.getvalue(), SET)
        train = load(run.out, "train")
        assert sorted(map(tuple, train.x.flatten(1).tolist())) == sorted(
            map(tuple, arrays["x_train"].reshape(6, -1).tolist())
        )


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


def test_a_normalisation_is_that_of_a_named_set_or_must_be_given(tmp_path: Path) -> None:
    run = run_import(tmp_path / "a", "import_model", save(weights()), {"arch": CNN["arch"], "dataset": "mnist"})
    assert models.read_card(run.out).mean == pytest.approx([0.1307])
    refused(tmp_path / "b", "import_model", save(weights()), {"arch": CNN["arch"]}, "mean and std: got nothing")
    wrong = {"arch": CNN["arch"], "dataset": "cifar10"}
    refused(tmp_path / "c", "import_model", save(weights()), wrong, "takes 1 of each")


def test_an_imported_model_is_evaluated_like_a_trained_one(tmp_path: Path) -> None:
    model = run_import(tmp_path / "m", "import_model", save(weights()), CNN)
    data = run_import(tmp_path / "d", "import_dataset", npz(), SET)
    run = LocalRun(tmp_path / "e")
    params = {"model": "k" * 64, "dataset": "k" * 64, "eps": [0.0, 0.5], "attack": {"steps": 1}}
    given = {"model": [Input(model.out, "k" * 64)], "dataset": [Input(data.out, "k" * 64)]}
    compute("evaluate", params, Inputs(given), run)
    assert (run.out / "result.json").is_file()


@pytest.mark.parametrize(("file", "accuracy"), [("resnet20-12fca82f.th", 0.9173), ("resnet56-4bfd9763.th", 0.9339)])
def test_published_cifar_networks_are_imported_with_their_accuracy(tmp_path: Path, file: str, accuracy: float) -> None:
    """Within 3 standard errors of 500 test images."""
    checkpoints, root = os.environ.get("ROBXFER_CHECKPOINTS"), os.environ.get("ROBXFER_DATA_ROOT")
    if not checkpoints or not root:
        pytest.skip("needs ROBXFER_CHECKPOINTS (with cifar_resnet/) and ROBXFER_DATA_ROOT (with cifar10.npz)")
    data = (Path(checkpoints) / "cifar_resnet" / file).read_bytes()
    params = {"arch": {"name": f"cifar_{file.split('-')[0]}"}, "dataset": "imagenet"}
    loaded = models.load(run_import(tmp_path, "import_model", data, params).out)
    with np.load(Path(root) / "cifar10.npz") as arrays:
        x, y = torch.from_numpy(arrays["x_test"][:500]), torch.from_numpy(arrays["y_test"][:500])
    with torch.no_grad():
        right = loaded(x.permute(0, 3, 1, 2).float() / 255).argmax(1) == y
    assert right.float().mean().item() == pytest.approx(accuracy, abs=3 * (accuracy * (1 - accuracy) / 500) ** 0.5)


# What is refused: archives.

GOOD = images()
LINK = {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}


def zip_with(name: str, mode: int = 0o100644, data: bytes = b"x") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for good, content in GOOD.items():
            made.writestr(good, content)
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, mode << 16
        made.writestr(info, data)
    return out.getvalue()


NAMES = {
    "up": ("train/../../escaped.png", "leads out"),
    "absolute": ("/tmp/escaped.png", "leads out"),
    "backslash": ("..\\escaped.png", "leads out"),
    "drive": ("C:/escaped.png", "leads out"),
    "empty": ("train//escaped.png", "leads out"),
    "newline": ("train/cat\n/x.png", "cannot be shown"),
    "bidi": ("train/cat/\u202egnp.exe.png", "cannot be shown"),
    "deep": ("/".join("abcdefghijkl"), "deeper"),
    "long": ("train/cat/" + "x" * 600, "longer|bytes"),
    "doubled": (next(iter(GOOD)), "comes twice"),
    "script": ("train/<script>alert(1)</script>/x.png", "image outside|name of a class"),
    "tag": ("train/<svg onload=x>/x.png", "name of a class"),
    "quote": ('train/"x/x.png', "name of a class"),
    "nested": ("train/cat/more.zip", "no image by its name"),
    "svg": ("train/cat/x.svg", "no image by its name"),
    "html": ("train/cat/x.html", "no image by its name"),
    "lost": ("train/x.png", "outside a class"),
    "inside": ("train/cat/more/x.png", "outside a class"),
    "unknown": ("test/bird/x.png", "the class bird"),
}


@pytest.mark.parametrize("form", ["zip", "tar"])
@pytest.mark.parametrize("what", NAMES)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_lead_elsewhere_or_say_too_much(tmp_path: Path, form: str, what: str) -> None:
    name, reason = NAMES[what]
    both: list[tuple[str, bytes]] = [*GOOD.items(), (name, png())]
    if form == "zip":
        data = zip_with(name, data=png())
    else:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as made:
            for each, content in both:
                info = tarfile.TarInfo(each)
                info.size = len(content)
                made.addfile(info, io.BytesIO(content))
        data = out.getvalue()
    refused(tmp_path, "import_dataset", data, SET, reason)
    assert not Path("/tmp/escaped.png").exists()


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        (LINK, "symbolic link"),
        ({"type": tarfile.LNKTYPE, "linkname": "train/cat/0.png"}, "hard link"),
        ({"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5}, "device"),
        ({"type": tarfile.BLKTYPE}, "device"),
        ({"type": tarfile.FIFOTYPE}, "pipe"),
        ({"type": tarfile.GNUTYPE_SPARSE}, "special file"),
        ({"pax_headers": {"GNU.sparse.map": "0,1"}}, "sparse"),
        ({"pax_headers": {"path": "../escaped"}}, "leads out"),
        ({"pax_headers": {"comment": "x" * (2 << 20)}}, "a header of"),
    ],
)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_what_is_no_plain_file_in_a_tar(tmp_path: Path, attributes: dict[str, Any], reason: str, mode: str) -> None:
    data = tarred(GOOD, ("train/cat/x.png", attributes), mode=mode)
    refused(tmp_path, "import_dataset", data, SET, reason)


@pytest.mark.parametrize(("mode", "reason"), [(0o120777, "symbolic link"), (0o020666, "device"), (0o010666, "device")])
def test_what_is_no_plain_file_in_a_zip(tmp_path: Path, mode: int, reason: str) -> None:
    refused(tmp_path, "import_dataset", zip_with("train/cat/x.png", mode, b"/etc/passwd"), SET, reason)


def test_empty_classes_and_single_ones(tmp_path: Path) -> None:
    empty = tarred(GOOD, ("train/bird", {"type": tarfile.DIRTYPE}))
    refused(tmp_path, "import_dataset", empty, SET, "train/bird: got a class without an image")
    one = {name: data for name, data in GOOD.items() if "cat" in name}
    refused(tmp_path, "import_dataset", zipped(one), SET, "2 classes or more")
    refused(tmp_path, "import_dataset", zipped({"a.png": png()}), SET, "takes train/CLASS/IMAGE")
    two = zipped(images("a/") | images("b/"))
    refused(tmp_path, "import_dataset", two, SET, "in 2 sets")


def test_compression_of_ten_thousand_to_one(tmp_path: Path) -> None:
    """By deflate, whose limit is a thousand, and by what compresses better, which is not taken at all."""
    zeros = bytes(100 << 20)
    refused(tmp_path, "import_dataset", zipped({**GOOD, "train/cat/x.bmp": zeros}), SET, "times the archive's size")
    better = zipped({**GOOD, "train/cat/x.bmp": zeros}, zipfile.ZIP_BZIP2)
    assert len(zeros) / len(better) > 5000
    refused(tmp_path, "import_dataset", better, SET, "compression 12")
    packed = gzip.compress(tarred({**GOOD, "train/cat/x.bmp": zeros}), 9)
    refused(tmp_path, "import_dataset", packed, SET, "times the archive's size")
    grown = zipped({**GOOD, "notes.bin": bytes(4 << 20)})
    refused(tmp_path, "import_dataset", lying(grown, "notes.bin", size=1 << 40), SET, "times the archive's size")


def test_gzip_files_of_nothing_one_after_the_other_cost_no_more_than_their_bytes(tmp_path: Path) -> None:
    """Each copies what is left of the piece that was read, so pieces are small."""
    (tmp_path / "x").write_bytes(gzip.compress(b"", 1) * 50_000 + gzip.compress(b"end"))
    read: list[int] = []

    class Counted(io.FileIO):
        def read(self, size: int | None = -1) -> bytes | None:
            read.append(size or 0)
            return super().read(size)

    with Counted(tmp_path / "x") as file:
        assert tars.Inflated(file).read(10) == b"end"
    assert max(read) <= 1 << 16


def lying(data: bytes, name: str, size: int) -> bytes:
    """The zip with another size of a file in its directory and at its head."""
    out, at = bytearray(data), data.rfind(name.encode())
    if size < 1 << 32:
        out[at - 46 + 24 : at - 46 + 28] = struct.pack("<L", size)
        first = data.find(name.encode())
        out[first - 30 + 22 : first - 30 + 26] = struct.pack("<L", size)
        return bytes(out)
    extra = struct.pack("<HHQ", 1, 8, size)  # the directory's entry gets a zip64 field
    out[at - 46 + 24 : at - 46 + 28] = b"\xff" * 4
    out[at - 46 + 30 : at - 46 + 32] = struct.pack("<H", len(extra))
    out[at + len(name) : at + len(name)] = extra
    (length,) = struct.unpack("<L", out[-10:-6])
    out[-10:-6] = struct.pack("<L", length + len(extra))
    return bytes(out)


@pytest.mark.parametrize("size", [10, 100_000])
def test_zips_that_lie_about_sizes(tmp_path: Path, size: int) -> None:
    files = {**GOOD, "train/cat/lie.png": png() + bytes(1000)}
    refused(tmp_path, "import_dataset", lying(zipped(files), "train/cat/lie.png", size), SET, "broken|are said")


def test_a_million_entries_are_refused_by_their_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the directory is read into memory, and before anything is extracted."""
    directory = b"".join(
        struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0) + b"%08d" % i
        for i in range(1_000_000)
    )
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 7, 7, len(directory), 4, 0)  # it says that there are seven

    def read(*_: Any) -> None:
        raise AssertionError("the directory was read")

    monkeypatch.setattr(zipfile.ZipFile, "_RealGetContents", read)
    refused(tmp_path, "import_dataset", b"PK\3\4" + directory + end, SET, "more than 500000 entries")
    monkeypatch.undo()
    monkeypatch.setattr(guard, "ENTRIES", 1000)

    def taken(*_: Any) -> None:
        raise AssertionError("something was extracted")

    monkeypatch.setattr(archive, "extract", taken)
    many = tarred({f"train/cat/{i}.png": b"" for i in range(1001)}, mode="w:gz")
    refused(tmp_path, "import_dataset", many, SET, "more than 1000 entries")


def test_broken_and_strange_files(tmp_path: Path) -> None:
    whole = {"zip": zipped(GOOD), "tar": tarred(GOOD), "gz": tarred(GOOD, mode="w:gz"), "npz": npz()}
    for form, data in whole.items():
        for cut in (len(data) // 2, len(data) * 9 // 10 if form != "tar" else len(data) - 10240 - 600):
            refused(tmp_path, "import_dataset", data[:cut], SET, "broken|no end of a zip|no array")
    flipped = bytearray(whole["gz"])
    flipped[len(flipped) // 2] ^= 0xFF
    refused(tmp_path, "import_dataset", bytes(flipped), SET, "broken|got")
    for strange in (b"", b"<svg/>", b"\x80\x04.", os.urandom(4096), b"PK\3\4", b"PK\5\6" + bytes(18), b"\x1f\x8b"):
        refused(tmp_path, "import_dataset", strange, SET, "got")
    locked = bytearray(whole["zip"])
    at = whole["zip"].rfind(b"PK\1\2")
    locked[at + 8] |= 1
    refused(tmp_path, "import_dataset", bytes(locked), SET, "encrypted")


# What is refused: images.


def huge_png() -> bytes:
    """Of a hundred thousand pixels a side, by its header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    header = struct.pack(">LLBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (huge_png(), "pixels|decoder"),
        (png(size=(9000, 9000), mode="L"), "9000 x 9000 pixels"),
        (png(size=(64, 64))[:-40], "no decoder takes"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no decoder takes"),
        (b"<html><script>alert(1)</script>", "no decoder takes"),
        (b"", "no decoder takes"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no decoder takes"),
        (png(mode="F", form="TIFF"), "mode F"),
        (png(mode="I;16"), "mode I;16"),
        (png(form="GIF"), "no decoder takes"),
        (png(size=(9, 8)), "size"),
    ],
)
def test_images_that_are_none_or_too_large(tmp_path: Path, data: bytes, reason: str) -> None:
    refused(tmp_path, "import_dataset", zipped({**GOOD, "train/cat/0.png": data}), SET, reason)


def test_an_image_that_would_be_huge_once_resized(tmp_path: Path) -> None:
    """Its short side becomes `size`, and its long side grows with it."""
    files = {**GOOD, "train/cat/long.png": png(size=(4000, 1))}
    reason = r"train/cat/long\.png: 4000 x 1 pixels, 4096000 x 1024 .* takes at most 64000000"
    refused(tmp_path, "import_dataset", zipped(files), {**SET, "size": 1024}, reason)
    first = {f"train/{name}/0.png": png(size=(1, 500_000)) for name in ("cat", "dog")}
    refused(tmp_path, "import_dataset", zipped(GOOD | first), {**SET, "size": 512}, "at most 64000000")
    assert run_import(tmp_path / "wide", "import_dataset", zipped(GOOD | {"train/cat/0.png": png(size=(64, 8))}), SIZED)


@pytest.mark.parametrize("name", ["<script>", "a b", "../x", "x\n", "", "a" * 65, "x\x00"])
def test_names_of_sets_are_plain(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        run_import(tmp_path, "import_dataset", zipped(GOOD), {"name": name})


class Bomb:
    """Unpickled, it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"x_train": np.zeros((6, 8, 8))}, "x_train: got <f8"),
        ({"x_train": np.full((6, 8, 8), np.nan, np.float32)}, "x_train: got <f4"),
        ({"x_train": np.zeros((6, 8, 8), np.int64)}, "takes uint8"),
        ({"x_train": np.zeros((6, 8, 8, 4), np.uint8)}, "takes uint8"),
        ({"x_train": np.zeros((6, 64), np.uint8)}, "takes uint8"),
        ({"x_train": np.zeros((6, 0, 8), np.uint8)}, "pixels"),
        ({"x_train": np.asfortranarray(np.zeros((6, 8, 8), np.uint8))}, "Fortran"),
        ({"x_train": np.array([{"a": 1}] * 6, dtype=object)}, r"x_train: got \|O"),
        ({"y_train": np.array([0, 1, 2, 0, 1])}, "for 6 images"),
        ({"y_train": np.array([0, 1, 2, 0, 1, -1])}, "labels from -1"),
        ({"y_train": np.array([0, 1, 2, 0, 1, 2**62])}, "labels from 0 to 4611686018427387904"),
        ({"y_train": np.array([0, 1, 2, 0, 1, 2**64 - 1], np.uint64)}, "labels from 0 to 18446744073709551615"),
        ({"y_train": np.array([0, 1, 4, 0, 1, 4])}, "no image of the class 2"),
        ({"y_train": np.array([0, 1, 2, 0, 1, np.nan])}, "y_train: got <f8"),
        ({"y_train": np.zeros(6, np.int64), "y_test": np.zeros(3, np.int64)}, "2 classes or more"),
        ({"y_test": np.array([0, 1, 9])}, "the label 9"),
        ({"x_test": np.zeros((0, 8, 8), np.uint8), "y_test": np.zeros(0, np.int64)}, "for 0 images"),
        ({"x_test": None}, "no array x_test"),
        ({"x_train": np.zeros((6, 8, 9), np.uint8)}, "size"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, arrays: dict[str, Any], reason: str) -> None:
    refused(tmp_path, "import_dataset", npz(**arrays), SET, reason)


def test_more_images_than_anybody_has(tmp_path: Path) -> None:
    n = dataset.IMAGES + 1
    many = npz_deflated(x_train=np.zeros((n, 1, 1), np.uint8), y_train=np.arange(n, dtype=np.uint8) % 2)
    assert len(many) < 50_000
    refused(tmp_path, "import_dataset", many, SET, "x_train: got 2000001 images")


def test_arrays_that_lie_about_their_shape_or_hide_a_pickle(tmp_path: Path) -> None:
    def header(text: str, data: bytes = b"") -> bytes:
        head = text.encode()
        return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + data

    def with_first(array: bytes) -> bytes:
        with np.load(io.BytesIO(npz())) as arrays:
            files = {f"{name}.npy": header_of(arrays[name]) for name in arrays}
        return zipped({**files, "x_train.npy": array})

    def header_of(array: np.ndarray) -> bytes:
        out = io.BytesIO()
        np.save(out, array)
        return out.getvalue()

    bomb = pickle.dumps(Bomb(tmp_path / "ran"))
    for array, reason in (
        (header("{'descr': '|u1', 'fortran_order': False, 'shape': (10**9, 99, 99)}"), "no .npy header"),
        (
            header("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 99, 99)}"),
            "bytes that its shape needs",
        ),
        (header("{'descr': '|u1', 'fortran_order': False, 'shape': (-6, 8, -8)}", bytes(384)), "its shape needs"),
        (header("{'descr': '|O', 'fortran_order': False, 'shape': (6,)}", bomb), "takes integers"),
        (header("__import__('os').system('touch ran')"), "no .npy header"),
        (b"\x93NUMPY\2\0" + struct.pack("<I", 1 << 31), "header of"),
        (b"\x93NUM", "not a .npy|broken"),
        (bomb, "not a .npy"),
        (header("-" * 9000 + "1"), "no .npy header"),
    ):
        refused(tmp_path, "import_dataset", with_first(array), SET, reason)


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
        ({"head.bias": torch.zeros(4)}, "do not fit the network"),
        ({"head.bias": None}, "lacks head.bias"),
        ({"head.bias": torch.zeros(3, dtype=torch.int64)}, "do not fit"),
        ({"head.weight": None}, r"no head\.weight"),
        ({"head.weight": torch.zeros(3, 17)}, r"takes \[2 to"),
        ({"head.weight": torch.zeros(1, 16)}, r"takes \[2 to"),
        ({"body.stray": torch.zeros(3)}, "body.stray"),
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
