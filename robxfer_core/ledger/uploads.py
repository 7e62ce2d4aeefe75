"""Uploads: files that were handed in, each content once a project, for import jobs to read.

A row is there before its bytes and goes after them, so that whatever breaks off, the ledger knows what is left in the
store. Until the bytes are whole, and once they are to go, its sha256 is its own id: then nobody finds it by content.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, delete, select, update

from robxfer_core.planning.plan import Plan
from robxfer_core.spec.errors import Problem, SpecError, place, show
from robxfer_core.spec.records import FileEntry, Manifest
from robxfer_core.spec.states import JobState

from .engine import insert as insert_or
from .engine import now, read, write
from .tables import jobs, uploads

IMPORT_KINDS = ("import_dataset", "import_model")
"""Kinds of jobs that read an upload, named by its sha256 in their parameter `upload`."""
FILE = "upload"
"""What the file is called in the store and in the job's folder, whatever its sender calls it."""


@dataclass(frozen=True)
class Upload:
    id: str
    project_id: str
    sha256: str
    bytes: int
    created_at: float
    created_by: str | None

    @property
    def prefix(self) -> str:
        """Where it is in the store."""
        return prefix_of(self.project_id, self.id)

    @property
    def manifest(self) -> Manifest:
        """Its one file."""
        file: FileEntry = {"path": FILE, "size": self.bytes, "sha256": self.sha256}
        return {"files": [file], "type": "upload", "kind": "upload", "key": self.sha256}


def prefix_of(project_id: str, upload_id: str) -> str:
    return f"{project_id}/uploads/{upload_id}"


def begin(engine: Engine, project_id: str, upload_id: str, created_by: str | None = None) -> None:
    """Remember a file that is about to come."""
    values = {"id": upload_id, "project_id": project_id, "sha256": upload_id, "bytes": 0, "created_by": created_by}
    with write(engine) as connection:
        connection.execute(uploads.insert().values(created_at=now(), **values))


def finish(engine: Engine, project_id: str, upload_id: str, sha256: str, size: int) -> Upload | None:
    """Remember what has come whole. Returns the upload of this content, as if it came now: of two, the first stays.

    None where the row was collected meanwhile. The caller removes what it has brought where it is not what is kept.
    """
    own = (uploads.c.id == upload_id, unfinished())
    with write(engine) as connection:
        row = connection.execute(delete(uploads).where(*own).returning(uploads)).one_or_none()
        if row is None:
            return None
        values = {**row._mapping, "created_at": now()}  # it is not collected before the submission that follows
        put = insert_or(connection, uploads).values(values | {"sha256": sha256, "bytes": size})
        again = {"created_at": values["created_at"]}
        connection.execute(put.on_conflict_do_update(index_elements=["project_id", "sha256"], set_=again))
        kept = _all(connection, project_id, [sha256])[sha256]
        if kept.id != upload_id:
            connection.execute(uploads.insert().values(values))
        return kept


def drop(engine: Engine, upload_id: str) -> None:
    """Drop the row of a file that nobody finds by its content, once the store has no more of it."""
    with write(engine) as connection:
        connection.execute(delete(uploads).where(uploads.c.id == upload_id, unfinished()))


def unfinished() -> ColumnElement[bool]:
    """Whether the row's file is not whole yet, or about to go."""
    return uploads.c.sha256 == uploads.c.id


def find(connection: Connection, project_id: str, kind: str, params: dict[str, Any]) -> Upload | None:
    """The upload that a job of this kind and with these parameters reads, if it does and it is there."""
    if kind not in IMPORT_KINDS or not params.get(FILE):
        return None
    return _all(connection, project_id, [params["upload"]]).get(params["upload"])


def check(engine: Engine, project_id: str, plan: Plan) -> None:
    """Raise SpecError where an import job of the plan names an upload that the project does not have.

    One that is done already needs it no more.
    """
    with read(engine) as connection:
        hold(connection, project_id, plan)


def hold(connection: Connection, project_id: str, plan: Plan) -> None:
    """As `check`; uploads that are there stay until the transaction ends."""
    named = [node for node in plan.nodes if node.kind in IMPORT_KINDS and node.params.get(FILE)]
    found = _all(connection, project_id, [node.params["upload"] for node in named]) if named else {}
    lacking = {node.key: node for node in named if node.params["upload"] not in found}
    if not lacking:
        return
    done = select(jobs.c.key).where(
        jobs.c.project_id == project_id, jobs.c.key.in_(lacking), jobs.c.state == JobState.DONE
    )
    for key in connection.scalars(done):
        del lacking[key]
    if lacking:
        takes = "the sha256 of a file that was uploaded to this project (POST /v1/datasets or /v1/models)"
        places = {place(("jobs", node.name.partition("[")[0], "upload")): node for node in lacking.values()}
        raise SpecError([Problem(at, show(node.params["upload"]), takes) for at, node in places.items()])


def forget(engine: Engine, project_id: str, sha256: str) -> Upload | None:
    """Let nobody find an upload all of whose import jobs have failed or were cancelled; its bytes, then its row may go.

    None, and nothing is changed, where it is not there or a job may still read it.
    """
    mine = (uploads.c.project_id == project_id, uploads.c.sha256 == sha256, ~unfinished())
    with write(engine) as connection:
        row = connection.execute(select(uploads).where(*mine).with_for_update()).one_or_none()
        if row is None:
            return None
        needed = select(jobs.c.params).where(
            jobs.c.project_id == project_id,
            jobs.c.kind.in_(IMPORT_KINDS),
            jobs.c.state.not_in((JobState.FAILED, JobState.CANCELLED)),
        )
        if any(params.get(FILE) == sha256 for params in connection.scalars(needed)):
            return None
        connection.execute(update(uploads).where(*mine).values(sha256=uploads.c.id))
    return Upload(**row._mapping)


def _all(connection: Connection, project_id: str, sha256: list[str]) -> dict[str, Upload]:
    query = select(uploads).where(uploads.c.project_id == project_id, uploads.c.sha256.in_(sha256), ~unfinished())
    rows = connection.execute(query.order_by(uploads.c.id).with_for_update(read=True, key_share=True))
    return {row.sha256: Upload(**row._mapping) for row in rows}
