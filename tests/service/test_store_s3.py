"""The S3 store, on a real service."""

import os
import time
from collections.abc import Iterator
from itertools import count, groupby
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
from minio.error import S3Error

from robxfer_core.ledger.retention import Removal
from robxfer_core.settings import Settings
from robxfer_core.storage import (
    ArtifactInfo,
    Corrupt,
    Missing,
    S3Store,
    Store,
    collection,
    fetch_files,
    open_store,
    publish_folder,
)

from . import servers

MODEL = ArtifactInfo("model", "train", "k")

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.S3]:
    with servers.s3(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def store(service: servers.S3) -> Store:
    settings = Settings(**service.settings())
    return open_store(settings.store_url, settings)


def test_a_folder_comes_back_as_it_was(store, tmp_path):
    made = tmp_path / "made"
    (made / "deep").mkdir(parents=True)
    (made / "model.json").write_text("{}")
    (made / "empty").write_bytes(b"")
    (made / "deep/big.bin").write_bytes(os.urandom(17 << 20))  # more than one part
    manifest = publish_folder(store, "p/j/1", made, MODEL)
    fetch_files(store, "p/j/1", manifest, tmp_path / "back")
    for name in ("model.json", "empty", "deep/big.bin"):
        assert (tmp_path / "back" / name).read_bytes() == (made / name).read_bytes()
    assert max(map(len, store.stream("p/j/1/deep/big.bin"))) <= 1 << 20

    (made / "model.json").write_text("[]")
    store.put("p/j/1/model.json", made / "model.json")
    with pytest.raises(Corrupt, match=r"p/j/1/model\.json"):
        fetch_files(store, "p/j/1", manifest, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_what_is_written_in_pieces_comes_whole_or_not_at_all(store, tmp_path):
    """By multipart where it is larger than a part; a stream that breaks leaves no object and no parts."""
    piece = os.urandom(1 << 20)
    for size in (0, 3, 9):  # empty, one request, several parts
        store.write(f"p/up/{size}", (piece for _ in range(size)))
        assert b"".join(store.stream(f"p/up/{size}")) == piece * size

    def broken():
        yield from [piece] * 20
        raise ConnectionError

    calls = count(1)

    def check() -> None:
        if next(calls) == 20:  # of a file of two parts, in the second
            raise ConnectionError

    (tmp_path / "large").write_bytes(piece * 24)
    for act in (
        lambda: store.write("p/up/broken", broken()),
        lambda: store.put("p/up/broken", tmp_path / "large", check),
    ):
        with pytest.raises(ConnectionError):
            act()
    with pytest.raises(Missing):
        store.stream("p/up/broken")
    assert not store.client._list_multipart_uploads(store.bucket).uploads


def test_what_broke_off_between_two_parts_is_collected_a_day_later(service, ledger, monkeypatch):
    """By whoever died with it: no object is there, and the parts are in no listing of objects."""
    given: dict[str, Any] = service.settings() | {"store_url": f"s3://{service.bucket}/parted"}
    store: Any = open_store(given["store_url"], Settings(**given))
    for key in ("parted/p/j/1/model", "parted-not/x"):
        upload = store.client._create_multipart_upload(store.bucket, key, {})
        store.client._upload_part(store.bucket, key, b"x" * (5 << 20), None, upload, 1)

    def broken() -> list[str]:
        return [each.object_name for each in store.client._list_multipart_uploads(store.bucket).uploads]

    assert list(store.walk()) == []
    assert list(collection.collect(ledger.engine, store)) == []
    monkeypatch.setattr(collection, "INCOMPLETE_S", -60.0)
    expected = [collection.Removed(Removal.PART, "p/j/1/model", 1, 0)]
    assert list(collection.collect(ledger.engine, store, dry_run=True)) == expected
    assert sorted(broken()) == ["parted-not/x", "parted/p/j/1/model"]
    assert list(collection.collect(ledger.engine, store)) == expected
    assert broken() == ["parted-not/x"]
    (other,) = store.client._list_multipart_uploads(store.bucket).uploads
    store.client._abort_multipart_upload(store.bucket, other.object_name, other.upload_id)


def test_what_is_not_there_is_missing_and_delete_takes_the_prefix_alone(store, tmp_path):
    (tmp_path / "a").write_text("{}")
    for name in ("q/j/1/a", "q/j/1/b/c", "q/j/10/a"):
        store.put(name, tmp_path / "a")
    store.delete("q/j/1")
    store.delete("q/j/1")
    for name in ("q/j/1/a", "q/j/1/b/c"):
        with pytest.raises(Missing):
            store.stream(name)
    assert b"".join(store.stream("q/j/10/a")) == b"{}"


def test_a_signed_link_needs_no_key_and_its_signature(store, tmp_path):
    (tmp_path / "a").write_text("signed")
    store.put("p/j/2/figure3.png", tmp_path / "a")
    link = store.signed_url("p/j/2/figure3.png", "figure3.png", 60)
    assert link is not None
    http = urllib3.PoolManager()
    answer = http.request("GET", link)
    assert (answer.status, answer.data) == (200, b"signed")
    assert answer.headers["content-disposition"] == 'attachment; filename="figure3.png"'
    assert http.request("GET", link.partition("?")[0]).status == 403
    assert http.request("GET", link.replace("figure3.png?", "other.png?")).status == 403


def test_links_are_signed_for_the_endpoint_that_clients_reach(service):
    given = service.settings() | {"s3_public_endpoint": "files.example.org", "s3_public_secure": True}
    settings = Settings(**given)
    link = open_store(settings.store_url, settings).signed_url("p/j/2/a", "a", 60)
    parts = urlsplit(link or "")
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "files.example.org", "/robxfer-test/kept/here/p/j/2/a")
    assert parse_qs(parts.query)["X-Amz-Expires"] == ["60"]


def test_without_a_public_endpoint_there_are_no_links(service):
    settings = Settings(**(service.settings() | {"s3_public_endpoint": ""}))
    assert open_store(settings.store_url, settings).signed_url("p/j/2/a", "a", 60) is None


def test_a_bucket_is_made_once(service):
    settings = Settings(**(service.settings() | {"store_url": "s3://another/kept"}))
    store = open_store(settings.store_url, settings)
    assert isinstance(store, S3Store)
    assert [store.make_bucket(), store.make_bucket()] == [True, False]


@pytest.mark.parametrize("wrong", [{"s3_secret_key": "wrong"}, {"s3_access_key": "", "s3_secret_key": ""}])
def test_wrong_keys_are_refused(service, tmp_path, wrong):
    settings = Settings(**(service.settings() | wrong))
    (tmp_path / "a").write_text("x")
    with pytest.raises(S3Error):
        open_store(settings.store_url, settings).put("p/a", tmp_path / "a")


def test_a_walk_meets_every_object_once_and_those_of_a_prefix_together(service, tmp_path):
    given = service.settings() | {"store_url": f"s3://{service.bucket}/walked"}
    settings = Settings(**given)
    store = open_store(settings.store_url, settings)
    (tmp_path / "a").write_text("abc")
    names = [f"w/job_{job}/{attempt}/{path}" for job in (1, 2) for attempt in (1, 10) for path in ("a", "deep/a")]
    for name in names:
        store.put(name, tmp_path / "a")
    met = list(store.walk())
    assert sorted(each.name for each in met) == sorted(names)
    assert {each.size for each in met} == {3}
    assert max(abs(each.modified - time.time()) for each in met) < 600
    assert len([run for run, _ in groupby(met, lambda each: each.name.split("/")[:3])]) == 4
