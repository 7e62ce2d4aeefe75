"""Uploads that nobody needs go, and none that somebody comes to need."""

import os
import time
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from robxfer_core.ledger import experiments
from robxfer_core.ledger import uploads as handed_in
from robxfer_core.ledger.engine import now, read, write
from robxfer_core.ledger.ids import new_id
from robxfer_core.ledger.tables import uploads
from robxfer_core.planning.plan import Plan
from robxfer_core.spec.errors import SpecError
from robxfer_core.storage import collection

from .place import DAY, Watched, amid

pytestmark = pytest.mark.servers


def hand_in(ledger: Any, id: str) -> str:
    """The id of the upload that is kept of a file whose content is `s`."""
    handed_in.begin(ledger.engine, "default", id)
    kept = handed_in.finish(ledger.engine, "default", id, "s", 4)
    assert kept is not None
    return kept.id


def test_uploads_go_a_day_after_nobody_needs_them(place):
    ledger = place.ledger

    def upload(sha: str | None, days: float, row: bool = True) -> str:
        """sha: none of one that has not come whole."""
        id = new_id("upl")
        name = place.put(f"default/uploads/{id}/upload")
        os.utime(place.store.root / name, (0.0, time.time() - days * DAY))
        if row:
            with write(ledger.engine) as connection:
                values = {"id": id, "project_id": "default", "sha256": sha or id, "bytes": 4}
                connection.execute(insert(uploads).values(created_at=now() - days * DAY, **values))
        return f"default/uploads/{id}"

    def wants(sha: str, queue: str = "cpu") -> str:
        experiment = ledger.submit({sha: ()}, queue=queue)
        ledger.set_job(sha, kind="import_dataset", params={"name": sha, "upload": sha})
        return experiment

    imported, running, wanted, fresh, never = (upload(sha, 2) for sha in ("i", "r", "w", "f", "n"))
    arriving, broken, stranger = upload(None, 0.1), upload(None, 1.1), upload("", 9, row=False)
    place.store.delete(unlisted := upload(None, 2))
    with write(ledger.engine) as connection:  # the same file was handed in again
        connection.execute(update(uploads).where(uploads.c.sha256 == "f").values(created_at=now()))
    wants("i")
    place.publish(ledger.claim())
    stopped = wants("r")
    ledger.claim()
    experiments.cancel(ledger.engine, "default", stopped)
    wants("w", "elsewhere")
    expected = sorted(("upload", name) for name in (imported, never, broken, unlisted))
    before = place.everything()
    assert place.gc(dry_run=True) == expected
    assert place.everything() == before
    assert place.gc() == expected
    assert {f"{name}/upload" for name in (running, wanted, fresh, arriving, stranger)} <= place.names()
    with read(ledger.engine) as connection:
        assert set(connection.scalars(select(uploads.c.sha256))) == {"r", "w", "f", arriving.split("/")[2]}


def test_a_collection_that_dies_between_an_uploads_row_and_its_bytes_is_finished_by_the_next(place):
    ledger, id = place.ledger, new_id("upl")
    name = place.put(f"default/uploads/{id}/upload")
    assert hand_in(ledger, id) == id
    with write(ledger.engine) as connection:
        connection.execute(update(uploads).values(created_at=now() - 2 * DAY))

    def die() -> None:
        raise OSError

    with pytest.raises(OSError):
        list(collection.collect(ledger.engine, Watched(place.store.root, removing=die)))
    assert name in place.names()
    other = new_id("upl")  # nobody finds it any more: the same content comes anew
    assert hand_in(ledger, other) == other
    assert place.gc() == [("upload", f"default/uploads/{id}")]
    assert name not in place.names()
    with read(ledger.engine) as connection:
        assert connection.scalars(select(uploads.c.id)).all() == [other]


def test_an_upload_that_was_collected_while_it_came_is_not_kept(place):
    ledger, id = place.ledger, new_id("upl")
    handed_in.begin(ledger.engine, "default", id)
    with write(ledger.engine) as connection:
        connection.execute(update(uploads).values(created_at=now() - 2 * DAY))
    assert place.gc() == [("upload", f"default/uploads/{id}")]
    assert handed_in.finish(ledger.engine, "default", id, "s", 4) is None


@pytest.mark.parametrize("moment", ["SELECT uploads.id", "UPDATE uploads"])
def test_an_upload_that_is_named_while_it_is_collected(place, moment):
    ledger, id = place.ledger, new_id("upl")
    name = place.put(f"default/uploads/{id}/upload")
    with write(ledger.engine) as connection:
        values = {"id": id, "project_id": "default", "sha256": "s", "bytes": 4}
        connection.execute(insert(uploads).values(created_at=now() - 2 * DAY, **values))
    (node,) = ledger.plan({"s": ()}).nodes
    plan = Plan((replace(node, kind="import_dataset", params={"name": "s", "upload": "s"}),))

    with amid(ledger, moment, lambda: experiments.submit(ledger.engine, "default", {"name": "x"}, plan)) as result:
        place.gc()
        try:
            result()
        except SpecError:  # it came too late, and says so
            assert name not in place.names()
        else:
            assert name in place.names()
            (given,) = ledger.claim().inputs
            assert given.prefix == f"default/uploads/{id}"


def test_an_upload_handed_in_again_stays_for_the_submission_that_follows(place):
    ledger, id, again = place.ledger, new_id("upl"), new_id("upl")
    name = place.put(f"default/uploads/{id}/upload")
    hand_in(ledger, id)
    with write(ledger.engine) as connection:
        connection.execute(update(uploads).where(uploads.c.id == id).values(created_at=now() - 2 * DAY))
    assert place.gc(dry_run=True) == [("upload", f"default/uploads/{id}")]
    assert hand_in(ledger, again) == id
    assert place.gc() == []
    assert name in place.names()
    with read(ledger.engine) as connection:  # what was brought a second time is known until its bytes are gone
        assert connection.scalar(select(uploads.c.sha256).where(uploads.c.id == again)) == again
