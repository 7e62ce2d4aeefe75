"""Stores and manifests: whole or not at all, verified at both ends, and no name leaves its folder."""

import hashlib
import os
from collections.abc import Callable
from itertools import count, groupby
from pathlib import Path

import pytest

from robxfer_core.settings import Settings
from robxfer_core.spec.records import FileEntry, Manifest
from robxfer_core.storage import (
    ArtifactInfo,
    Corrupt,
    Missing,
    check_name,
    describe,
    fetch_files,
    open_store,
    publish_folder,
    verified,
)
from robxfer_core.storage.folder import FolderStore

MODEL = ArtifactInfo("model", "train", "k")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    (folder / "empty").write_bytes(b"")
    (folder / "deep" / "er" / "big.bin").write_bytes(os.urandom(3 * 1024 * 1024 + 17))
    return folder


def test_a_folder_comes_back_as_it_was(store, made, tmp_path):
    manifest = publish_folder(store, "p/j/1", made, MODEL)
    assert [file["path"] for file in manifest["files"]] == ["deep/er/big.bin", "empty", "model.json"]
    assert (manifest["type"], manifest["kind"], manifest["key"]) == ("model", "train", "k")
    fetch_files(store, "p/j/1", manifest, tmp_path / "back")
    for path in made.rglob("*"):
        if path.is_file():
            assert (tmp_path / "back" / path.relative_to(made)).read_bytes() == path.read_bytes()
    assert describe(tmp_path / "back", MODEL) == manifest


def test_one_named_file_is_fetched_alone(store, made, tmp_path):
    manifest = publish_folder(store, "p/j/1", made, MODEL)
    fetch_files(store, "p/j/1", manifest, tmp_path / "back", only="model.json")
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["model.json"]
    with pytest.raises(ValueError, match=r"no file other\.json"):
        fetch_files(store, "p/j/1", manifest, tmp_path / "other", only="other.json")


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "remove"])
def test_damage_in_the_store_is_found_and_named(store, made, tmp_path, damage):
    manifest = publish_folder(store, "p/j/1", made, MODEL)
    path = tmp_path / "store/p/j/1/deep/er/big.bin"
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    changed = {"flip": data, "cut": data[:-1], "grow": data + b"x"}
    path.unlink() if damage == "remove" else path.write_bytes(changed[damage])
    with pytest.raises(Corrupt, match=r"p/j/1/deep/er/big\.bin"):
        fetch_files(store, "p/j/1", manifest, tmp_path / "back")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["made", "store"]  # nothing, not even half


def test_links_are_no_files_of_an_artifact(made):
    (made / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="link"):
        describe(made, MODEL)


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "a//b", "../a", "a/../b", "a/.", ".hidden", "a/", "a\\b", "a\nb", "a\0b", "é", "a" * 801],
)
def test_names_that_could_leave_their_place_are_refused(store, tmp_path, name):
    with pytest.raises(ValueError, match="no name"):
        check_name(name)
    for act in (
        lambda: store.put(name, tmp_path),
        lambda: store.stream(name),
        lambda: store.delete(name),
    ):
        with pytest.raises(ValueError, match="no name"):
            act()


def test_a_manifest_cannot_write_outside_its_folder(store, tmp_path):
    file: FileEntry = {"path": "../escaped", "size": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    manifest: Manifest = {"files": [file], "type": "model", "kind": "train", "key": "k"}
    with pytest.raises(ValueError, match="no name"):
        fetch_files(store, "p/j/1", manifest, tmp_path / "in" / "back")
    assert not (tmp_path / "in" / "escaped").exists()


def test_a_put_that_breaks_off_leaves_the_object_as_it_was(store, tmp_path, monkeypatch):
    (tmp_path / "a").write_text("first")
    store.put("p/a", tmp_path / "a")

    def broken(fd: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", broken)
    (tmp_path / "a").write_text("second")
    with pytest.raises(OSError, match="full"):
        store.put("p/a", tmp_path / "a")
    assert b"".join(store.stream("p/a")) == b"first"
    assert [entry.name for entry in (tmp_path / "store/p").iterdir()] == ["a"]


def test_streams_come_in_pieces_and_what_is_not_there_is_missing(store, made, tmp_path):
    store.put("p/big", made / "deep/er/big.bin")
    pieces = list(store.stream("p/big"))
    assert max(map(len, pieces)) <= 1 << 20
    assert b"".join(pieces) == (made / "deep/er/big.bin").read_bytes()
    with pytest.raises(Missing):
        store.stream("p/none")
    assert store.signed_url("p/big", "big.bin", 60) is None


def test_what_is_written_in_pieces_comes_whole_or_not_at_all(store, tmp_path):
    store.write("p/up/a", iter([b"one", b"", b"two"]))
    assert b"".join(store.stream("p/up/a")) == b"onetwo"

    def broken():
        yield b"half"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        store.write("p/up/b", broken())
    assert [path.name for path in (tmp_path / "store/p/up").iterdir()] == ["a"]


@pytest.mark.parametrize("damage", ["none", "flip", "cut", "grow", "empty"])
def test_the_last_piece_is_held_back_until_the_file_is_known_to_be_right(damage):
    pieces = [b"a" * 10, b"b" * 10, b"c" * 10]
    entry: FileEntry = {"path": "x", "size": 30, "sha256": hashlib.sha256(b"".join(pieces)).hexdigest()}
    came = {"flip": [*pieces[:2], b"c" * 9 + b"d"], "cut": pieces[:2], "grow": [*pieces, b"x"], "empty": []}
    stream, got = verified(came.get(damage, pieces), entry, "p/x"), []
    if damage == "none":
        assert list(stream) == pieces
        return
    with pytest.raises(Corrupt, match="p/x has"):
        got.extend(stream)
    assert sum(map(len, got)) < 30
    empty: FileEntry = {"path": "e", "size": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    assert list(verified([], empty, "p/e")) == []


def test_delete_takes_the_prefix_alone(store, made):
    for name in ("p/j/1/a", "p/j/1/b/c", "p/j/10/a"):
        store.put(name, made / "model.json")
    store.delete("p/j/1")
    store.delete("p/j/1")  # nothing there is no error
    with pytest.raises(Missing):
        store.stream("p/j/1/b/c")
    assert b"".join(store.stream("p/j/10/a")) == b"{}"


def test_what_a_reader_does_to_its_copy_does_not_reach_the_store(store, made, tmp_path):
    manifest = publish_folder(store, "p/j/1", made, MODEL)
    fetch_files(store, "p/j/1", manifest, tmp_path / "copy")
    (tmp_path / "copy/model.json").write_text("scribbled")
    assert b"".join(store.stream("p/j/1/model.json")) == b"{}"


class Enough(Exception):
    """Raised by a check."""


def breaking_off(after: int) -> Callable[[], None]:
    """A check that raises at one of its calls."""
    calls = count(1)

    def check() -> None:
        if next(calls) == after:
            raise Enough

    return check


@pytest.mark.parametrize("after", range(1, 17))
def test_whoever_moves_files_can_break_off_at_each_piece_and_leaves_no_half(store, made, tmp_path, after):
    with pytest.raises(Enough):
        publish_folder(store, "p/j/1", made, MODEL, breaking_off(after))  # each is read twice
    stored = {name: b"".join(store.stream(name)) for name in (each.name for each in store.walk())}
    assert all(data == (made / name.removeprefix("p/j/1/")).read_bytes() for name, data in stored.items())
    if after <= 8:
        manifest = publish_folder(store, "p/j/1", made, MODEL)
        with pytest.raises(Enough):
            fetch_files(store, "p/j/1", manifest, tmp_path / "back", check=breaking_off(after))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["made", "store"]


def test_urls(tmp_path):
    settings = Settings(data_dir=tmp_path)
    assert isinstance(open_store(f"file://{tmp_path}/a%20b", settings), FolderStore)
    assert (tmp_path / "a b").is_dir()
    for url in ("ftp://x/y", "file://host/x", "s3://", "nothing"):
        with pytest.raises(ValueError, match="takes file:///FOLDER or s3://BUCKET/PREFIX"):
            open_store(url, settings)


def test_a_walk_meets_every_object_once_and_those_of_a_prefix_together(store, tmp_path):
    (tmp_path / "a").write_text("abc")
    names = [f"p/job_{job}/{attempt}/{path}" for job in (1, 2) for attempt in (1, 10) for path in ("a", "deep/a")]
    for name in names:
        store.put(name, tmp_path / "a")
    met = list(store.walk())
    assert sorted(each.name for each in met) == sorted(names)
    assert {each.size for each in met} == {3}
    assert max(abs(each.modified - (tmp_path / "a").stat().st_mtime) for each in met) < 60
    runs = [name for name, _ in groupby(met, lambda each: each.name.split("/")[:3])]
    assert len(runs) == 4
    walk = store.walk()
    next(walk)
    for name in names:
        store.delete(name.rsplit("/", 1)[0])  # while it walks
    assert len(list(walk)) < len(names)
    assert list(store.walk()) == []
