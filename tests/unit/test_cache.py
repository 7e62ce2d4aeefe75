"""The worker's cache and folders: fetched once, never dropped while held, and never shared between processes."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from robxfer_worker.cache import Cache
from robxfer_worker.workdir import OwnFolder, empty
from tests.service.servers import PATIENCE_S


def maker(size: int, made: list[Path]):
    def fetch(path: Path) -> None:
        made.append(path)
        path.mkdir()
        (path / "data").write_bytes(b"x" * size)

    return fetch


def test_two_that_want_the_same_fetch_it_once(tmp_path):
    cache, made, both = Cache(tmp_path / "cache", 1000), [], threading.Barrier(2)

    def hold(_: int) -> bytes:
        with cache.hold("a", maker(10, made)) as path:
            both.wait(PATIENCE_S)  # held by both at once
            return (path / "data").read_bytes()

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(hold, range(2))) == [b"x" * 10] * 2
    assert len(made) == 1


def test_the_least_used_goes_first_and_what_is_held_stays(tmp_path):
    cache, made = Cache(tmp_path / "cache", 25), []
    for age, name in enumerate(("a", "b")):
        with cache.hold(name, maker(10, made)):
            pass
        cache._copies[name].used = float(age)
    with cache.hold("a", maker(10, made)), cache.hold("c", maker(10, made)):
        with cache.hold("d", maker(10, made)):
            pass
        assert {path.name for path in cache.root.iterdir()} == {
            "a",
            "c",
        }  # over the limit, d is dropped at once: b before it
        assert (cache.root / "a/data").is_file()


def test_a_copy_whose_fetch_broke_off_is_fetched_again(tmp_path):
    cache, made = Cache(tmp_path / "cache", 100), []

    def broken(path: Path) -> None:
        raise OSError("no network")

    with pytest.raises(OSError, match="no network"), cache.hold("a", broken):
        pass
    with cache.hold("a", maker(10, made)) as path:
        assert (path / "data").is_file()


def test_copies_outlive_the_process_but_halves_do_not(tmp_path):
    made: list[Path] = []
    with Cache(tmp_path / "cache", 100).hold("a", maker(10, made)):
        pass
    (tmp_path / "cache/.b.123").mkdir()
    cache = Cache(tmp_path / "cache", 100)
    with cache.hold("a", maker(10, made)):
        pass
    assert len(made) == 1
    assert [path.name for path in cache.root.iterdir()] == ["a"]


def test_a_copy_has_its_name_only_when_all_of_it_is_on_the_disk(tmp_path, monkeypatch):
    """Or a loss of power could leave empty files under it, which the next process would take over."""
    synced: list[tuple[str, bool]] = []
    sync = os.fsync

    def note(fd: int) -> None:
        synced.append((Path(os.readlink(f"/proc/self/fd/{fd}")).name, (tmp_path / "cache/a").exists()))
        sync(fd)

    monkeypatch.setattr(os, "fsync", note)
    with Cache(tmp_path / "cache", 100).hold("a", maker(10, [])):
        pass
    assert sorted(synced) == [(".a.new", False), ("data", False)]


def test_a_job_cannot_change_what_others_read(tmp_path):
    with Cache(tmp_path / "cache", 100).hold("a", maker(10, [])) as path:
        assert not os.stat(path / "data").st_mode & 0o222


def test_each_holder_has_a_folder_of_its_own_and_leaves_it_to_the_next(tmp_path):
    first, second = OwnFolder(tmp_path), OwnFolder(tmp_path)
    assert [each.path.name for each in (first, second)] == ["0", "1"]
    (first.path / "left").mkdir()
    first.close()
    third = OwnFolder(tmp_path)
    assert third.path == first.path
    assert (third.path / "left").is_dir()
    empty(third.path)
    assert not list(third.path.iterdir())
    second.close()
    third.close()
