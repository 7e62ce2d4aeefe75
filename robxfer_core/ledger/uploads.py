"""Uploads: files that users sent, each content once a project, for import jobs to read.

A row is written before its file and removed after it, so that the ledger knows every file that the store may hold.
While a file is not whole, and once it is to be removed, its row has its id as sha256 and is not found by content.
"""

from collections.abc import Mapping
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
"""Kinds of jobs that read an upload."""
FIELD = "upload"
"""The parameter of an import job that names the upload by its sha256."""
FILE_NAME = "upload"
"""Name of the file in the store and in the job's folder, whatever its sender called it."""


@dataclass(frozen=True)
class Upload:
    """An uploaded file."""

    id: str
    project_id: str
    sha256: str
    """In hex; its own id while it cannot be found by content."""
    bytes: int
    """0 until the file is whole."""
    created_at: float
    """When it was last sent, in seconds since the epoch."""
    created_by: str | None
    """The name of the token that sent it first; None where no token was needed."""

    @property
    def prefix(self) -> str:
        """The file is in the store under this name and a slash."""
        return prefix_of(self.project_id, self.id)

    @property
    def manifest(self) -> Manifest:
        """A manifest of its one file."""
        file: FileEntry = {"path": FILE_NAME, "size": self.bytes, "sha256": self.sha256}
        return {"files": [file], "type": "upload", "kind": "upload", "key": self.sha256}


def prefix_of(project_id: str, upload_id: str) -> str:
    """Prefix of an upload's file in the store."""
    return f"{project_id}/uploads/{upload_id}"


def begin(engine: Engine, project_id: str, upload_id: str, created_by: str | None = None) -> None:
    """Write the row of a file that is about to be sent."""
    values = {"id": upload_id, "project_id": project_id, "sha256": upload_id, "bytes": 0, "created_by": created_by}
    with write(engine) as connection:
        connection.execute(uploads.insert().values(created_at=now(), **values))


def finish(engine: Engine, project_id: str, upload_id: str, sha256: str, size: int) -> Upload | None:
    """Complete the row of a file that is whole in the store.

    Args:
        engine: The database.
        project_id: The project.
        upload_id: The id given to `begin`.
        sha256: Of the file, in hex.
        size: Of the file, in bytes.

    Returns:
        The project's upload of this content, with the present time. If the content was sent before, that is the
        earlier upload, and the caller removes the file and the row of this one. None where the row was collected
        meanwhile.
    """
    own = (uploads.c.id == upload_id, unlisted())
    with write(engine) as connection:
        row = connection.execute(delete(uploads).where(*own).returning(uploads)).one_or_none()
        if row is None:
            return None
        values = {**row._mapping, "created_at": now()}  # so that it is not collected before the submission that follows
        put = insert_or(connection, uploads).values(values | {"sha256": sha256, "bytes": size})
        again = {"created_at": values["created_at"]}
        connection.execute(put.on_conflict_do_update(index_elements=["project_id", "sha256"], set_=again))
        upload = _by_sha256(connection, project_id, [sha256])[sha256]
        if upload.id != upload_id:
            connection.execute(uploads.insert().values(values))
        return upload


def delete_row(engine: Engine, upload_id: str) -> None:
    """Remove the row of an upload that cannot be found by content, once the store no longer holds its file."""
    with write(engine) as connection:
        connection.execute(delete(uploads).where(uploads.c.id == upload_id, unlisted()))


def unlisted() -> ColumnElement[bool]:
    """The condition that an upload cannot be found by content: it is not whole yet, or about to be removed."""
    return uploads.c.sha256 == uploads.c.id


def find(connection: Connection, project_id: str, kind: str, params: Mapping[str, Any]) -> Upload | None:
    """Find the upload that a job reads.

    Args:
        connection: A transaction, in which the upload then stays locked.
        project_id: The job's project.
        kind: The job's kind.
        params: The job's parameters.

    Returns:
        The upload; None where the job reads none or the project has it no longer.
    """
    if kind not in IMPORT_KINDS or not params.get(FIELD):
        return None
    return _by_sha256(connection, project_id, [params[FIELD]]).get(params[FIELD])


def check(engine: Engine, project_id: str, plan: Plan) -> None:
    """Check that the project has the uploads that a plan's import jobs read. A job that is done reads none any more.

    Raises:
        SpecError: An upload is missing; the error names each place.
    """
    with read(engine) as connection:
        lock_for_plan(connection, project_id, plan)


def lock_for_plan(connection: Connection, project_id: str, plan: Plan) -> None:
    """Lock the uploads that a plan's import jobs read, so that none is removed until the transaction ends.

    Raises:
        SpecError: An upload is missing; the error names each place.
    """
    importing = [node for node in plan.nodes if node.kind in IMPORT_KINDS and node.params.get(FIELD)]
    present = _by_sha256(connection, project_id, [node.params[FIELD] for node in importing]) if importing else {}
    lacking = {node.key: node for node in importing if node.params[FIELD] not in present}
    if not lacking:
        return
    done = select(jobs.c.key).where(
        jobs.c.project_id == project_id, jobs.c.key.in_(lacking), jobs.c.state == JobState.DONE
    )
    for key in connection.scalars(done):
        del lacking[key]
    if lacking:
        takes = "the sha256 of a file that was uploaded to this project (POST /v1/datasets or /v1/models)"
        places = {place(("jobs", node.name.partition("[")[0], FIELD)): node for node in lacking.values()}
        raise SpecError([Problem(at, show(node.params[FIELD]), takes) for at, node in places.items()])


def unlist(engine: Engine, project_id: str, sha256: str) -> Upload | None:
    """Make sure that an upload cannot be found by content any more, if all its import jobs failed or were cancelled.

    The caller removes the file and then the row.

    Returns:
        The upload; None, and nothing is changed, where there is none or a job may still read it.
    """
    listed = (uploads.c.project_id == project_id, uploads.c.sha256 == sha256, ~unlisted())
    with write(engine) as connection:
        row = connection.execute(select(uploads).where(*listed).with_for_update()).one_or_none()
        if row is None:
            return None
        readers = select(jobs.c.params).where(
            jobs.c.project_id == project_id,
            jobs.c.kind.in_(IMPORT_KINDS),
            jobs.c.state.not_in((JobState.FAILED, JobState.CANCELLED)),
        )
        if any(params.get(FIELD) == sha256 for params in connection.scalars(readers)):
            return None
        connection.execute(update(uploads).where(*listed).values(sha256=uploads.c.id))
    return Upload(**row._mapping)


def _by_sha256(connection: Connection, project_id: str, sha256: list[str]) -> dict[str, Upload]:
    query = select(uploads).where(uploads.c.project_id == project_id, uploads.c.sha256.in_(sha256), ~unlisted())
    rows = connection.execute(query.order_by(uploads.c.id).with_for_update(read=True, key_share=True))
    return {row.sha256: Upload(**row._mapping) for row in rows}
