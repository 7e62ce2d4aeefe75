"""Uploaded archives: what is right becomes a data set, what is hostile is refused and leaves nothing."""

import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robxfer_core.science.data.artifact import load
from robxfer_core.science.data.uploads import archive, guard, tars

from .uploads import SET, images, npz, png, refused, run_import, tarred, zipped


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


def test_a_tar_that_is_cut_between_two_members_is_broken(tmp_path: Path) -> None:
    """tarfile's own reader takes it for a shorter archive."""
    data = tarred({f"train/{name}/{i}.png": bytes(500) for name in ("cat", "dog") for i in range(4)})
    refused(tmp_path, "import_dataset", data[: 5 * 1024], SET, "ends too soon")
    broken = bytearray(data)
    broken[5 * 1024 + 10] ^= 0xFF  # in the name of the sixth
    refused(tmp_path, "import_dataset", bytes(broken), SET, "bad checksum")


@pytest.mark.parametrize("form", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_extended_headers_in_a_row_are_not_followed_by_recursion(tmp_path: Path, form: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = form, 10
    header = info.tobuf(tarfile.USTAR_FORMAT) + b"10 a=bcde\n".ljust(512, b"\0")
    refused(tmp_path, "import_dataset", header * 5000, SET, "ends too soon")


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
