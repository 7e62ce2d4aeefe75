"""What is on disk is found and measured without numpy or an image decoder."""

import io
from pathlib import Path

import numpy as np
import pytest

from robxfer_core.spec import datasets


def lay(folder: Path, **counts: int) -> None:
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            (folder / name / f"{i}.jpg").write_bytes(b"")
        (folder / name / "notes.txt").write_text("no image")
        (folder / name / ".hidden.jpg").write_bytes(b"")


def save(path: Path, x_shape: tuple[int, ...], dtype: str = "int64", compress: bool = False) -> None:
    y = np.arange(x_shape[0]) % 3
    arrays = {"x_train": np.zeros(x_shape, np.uint8), "y_train": y.astype(dtype)}
    arrays |= {"x_test": arrays["x_train"][:4], "y_test": np.array([0, 1, 2, 4]).astype(dtype)}
    (np.savez_compressed if compress else np.savez)(path, allow_pickle=False, **arrays)


def test_nothing_but_the_built_in() -> None:
    assert datasets.scan(None) == datasets.scan(Path("/nowhere/at/all")) == datasets.BUILTIN


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "int16"])
def test_npz(tmp_path: Path, dtype: str) -> None:
    save(tmp_path / "grey.npz", (10, 7, 7), dtype)
    save(tmp_path / "colour.npz", (10, 6, 8, 3), dtype, compress=True)
    found = datasets.scan(tmp_path)
    assert found["grey"] == {"shape": [1, 7, 7], "classes": 5, "train": 10, "test": 4}
    assert found["colour"]["shape"] == [3, 6, 8]


def test_folders(tmp_path: Path) -> None:
    lay(tmp_path / "pets" / "train", cat=5, dog=3)
    lay(tmp_path / "pets" / "val", cat=2, dog=2)
    lay(tmp_path / "unsplit" / "train", a=20, b=20)
    lay(tmp_path / "no_split_at_all", a=20)
    found = datasets.scan(tmp_path)
    assert found["pets"] == {"shape": None, "classes": 2, "train": 8, "test": 4}
    assert found["unsplit"] == {"shape": None, "classes": 2, "train": 30, "test": 10}
    assert "no_split_at_all" not in found


def test_torchvision_layouts(tmp_path: Path) -> None:
    lay(tmp_path / "caltech101" / "101_ObjectCategories", accordion=8, ant=8, BACKGROUND_Google=9)
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"")
    found = datasets.scan(tmp_path)
    assert found["caltech101"] == {"shape": None, "classes": 2, "train": 12, "test": 4}
    assert found["cifar10"] == datasets.TORCHVISION["cifar10"]
    assert "mnist" not in found


def test_an_npz_comes_before_torchvision(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"")
    save(tmp_path / "cifar10.npz", (10, 32, 32, 3))
    assert datasets.scan(tmp_path)["cifar10"]["train"] == 10


def broken() -> dict[str, bytes]:
    def npz(**arrays: np.ndarray) -> bytes:
        file = io.BytesIO()
        np.savez(file, allow_pickle=True, **arrays)
        return file.getvalue()

    x, y = np.zeros((3, 4, 4), np.uint8), np.arange(3)
    return {
        "no_zip": b"PK not really",
        "no_labels": npz(x_train=x, x_test=x),
        "pickled": npz(x_train=x, y_train=np.array([{}, {}, {}], dtype=object), x_test=x, y_test=y),
        "float_labels": npz(x_train=x, y_train=y / 2, x_test=x, y_test=y),
        "four_channels": npz(x_train=np.zeros((3, 4, 4, 4), np.uint8), y_train=y, x_test=x, y_test=y),
        "cut": npz(x_train=x, y_train=y, x_test=x, y_test=y)[:-400],
    }


@pytest.mark.parametrize("name", broken())
def test_a_broken_file_is_left_out_and_named(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / f"{name}.npz").write_bytes(broken()[name])
    assert datasets.scan(tmp_path) == datasets.BUILTIN
    assert name in caplog.text


@pytest.mark.parametrize("name", ["../up", "..", "a/b", "/etc", "", ".hidden", "a\n", "x" * 65])
def test_no_name_leads_out_of_the_root(tmp_path: Path, name: str) -> None:
    lay(tmp_path / "up" / "train", a=1)
    (tmp_path / "root").mkdir()
    assert datasets.locate(tmp_path / "root", name) is None
