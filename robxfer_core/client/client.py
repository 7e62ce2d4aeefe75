"""The typed HTTP client: one method for each route."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel

from robxfer_core.spec.wire.artifacts import ArtifactView, DatasetsView
from robxfer_core.spec.wire.base import Page
from robxfer_core.spec.wire.experiments import ExperimentRow, ExperimentView, Submitted, Uploaded
from robxfer_core.spec.wire.jobs import EventView, JobView, KindView, MetricRow
from robxfer_core.spec.wire.operating import AuditLine, TokenView, WorkerView
from robxfer_core.spec.wire.plan import PlanView
from robxfer_core.spec.wire.queries import (
    ExperimentQuery,
    ImportDatasetQuery,
    ImportModelQuery,
    MetricQuery,
    PageQuery,
    Query,
    ReportQuery,
    RowsQuery,
)

from .download import download_files
from .errors import UploadError
from .transport import Transport
from .upload import pack

T = TypeVar("T", bound=BaseModel)
MediaType = Literal["yaml", "json"]


class Client:
    """A client of one service.

    Requests that may be repeated without harm are tried up to 4 times; a submission may, because it carries a key.

    Args:
        base_url: URL of the service.
        token: Token to authenticate with; none for a service that is open.
        timeout: Seconds to wait for an answer.

    Raises:
        ApiError: From every method, where the service refuses the request.
        Unreachable: From every method, where the service does not answer.
    """

    def __init__(self, base_url: str, token: str | None = None, timeout: float = 30.0) -> None:
        self._transport = Transport(base_url, token, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._transport.http.close()

    def submit(self, spec: bytes, media: MediaType = "yaml", idempotency_key: str | None = None) -> Submitted:
        """Submits a spec to be run.

        Args:
            spec: The spec's bytes.
            media: Their format.
            idempotency_key: The same key with the same spec is submitted once. Without it, each call submits.
        """
        key = idempotency_key or uuid.uuid4().hex
        return self._post("/v1/experiments", Submitted, _spec_headers(media) | {"Idempotency-Key": key}, spec)

    def plan(self, spec: bytes, media: MediaType = "yaml") -> PlanView:
        """Gets what submitting a spec would compute, without running it."""
        return self._post("/v1/experiments/plan", PlanView, _spec_headers(media), spec)

    def get(self, id: str) -> ExperimentView:
        """Gets an experiment with its nodes."""
        return self._transport.get(f"/v1/experiments/{id}", ExperimentView)

    def list(self, **query: Any) -> Page[ExperimentRow]:
        """Gets one page of experiments, newest first.

        Args:
            **query: Fields of ExperimentQuery: state, name, label (`key=value`), limit, cursor.
        """
        return self._transport.get("/v1/experiments", Page[ExperimentRow], ExperimentQuery.of(**query))

    def cancel(self, id: str) -> ExperimentView:
        """Ends an experiment; jobs that no other experiment needs are stopped."""
        return self._post(f"/v1/experiments/{id}/cancel", ExperimentView)

    def retry(self, id: str) -> ExperimentView:
        """Runs an experiment's failed and cancelled jobs again, with a fresh budget of attempts."""
        return self._post(f"/v1/experiments/{id}/retry", ExperimentView)

    def job(self, id: str) -> JobView:
        """Gets a job with its inputs, its attempts and what it waits for."""
        return self._transport.get(f"/v1/jobs/{id}", JobView)

    def metrics(self, id: str, cursor: str | None = None, **query: Any) -> Page[MetricRow]:
        """Gets measured values of a job, by name and step.

        Args:
            id: Id of the job.
            cursor: The `next` of the page before.
            **query: Further fields of MetricQuery: name, limit.
        """
        return self._transport.get(f"/v1/jobs/{id}/metrics", Page[MetricRow], MetricQuery.of(cursor=cursor, **query))

    def logs(self, id: str, cursor: str | None = None, **query: Any) -> Page[EventView]:
        """Gets log lines of a job, oldest first.

        Args:
            id: Id of the job.
            cursor: The `next` of the page before.
            **query: Further fields of RowsQuery: limit.
        """
        return self._transport.get(f"/v1/jobs/{id}/logs", Page[EventView], RowsQuery.of(cursor=cursor, **query))

    def report(self, id: str, node: str | None = None) -> dict[str, Any]:
        """Gets report.json of an experiment that is done.

        Args:
            id: Id of the experiment.
            node: The report job; needed where the experiment has several.
        """
        params = ReportQuery.of(node=node).params()
        return self._transport.send("GET", f"/v1/experiments/{id}/report", params=params).json()

    def artifact(self, id: str) -> ArtifactView:
        """Gets an artifact's manifest."""
        return self._transport.get(f"/v1/artifacts/{id}", ArtifactView)

    def result(self, id: str) -> dict[str, Any]:
        """Gets result.json of an artifact: the numbers that its job computed."""
        return self._transport.send("GET", f"/v1/artifacts/{id}/files/result.json").json()

    def pin(self, id: str) -> ArtifactView:
        """Keeps an artifact from garbage collection."""
        return self._post(f"/v1/artifacts/{id}/pin", ArtifactView)

    def unpin(self, id: str) -> ArtifactView:
        """Lets garbage collection remove an artifact again."""
        return self._delete(f"/v1/artifacts/{id}/pin", ArtifactView)

    def tokens(self, **query: Any) -> Page[TokenView]:
        """Gets the project's tokens, newest first; takes a token of scope admin.

        Args:
            **query: Fields of PageQuery: limit, cursor.
        """
        return self._transport.get("/v1/tokens", Page[TokenView], PageQuery.of(**query))

    def revoke_token(self, id: str) -> TokenView:
        """Ends a token of the project at once; takes a token of scope admin."""
        return self._delete(f"/v1/tokens/{id}", TokenView)

    def audit(self, **query: Any) -> Page[AuditLine]:
        """Gets who asked for which change in the project, newest first; takes a token of scope admin.

        Args:
            **query: Fields of PageQuery: limit, cursor.
        """
        return self._transport.get("/v1/audit", Page[AuditLine], PageQuery.of(**query))

    def workers(self) -> Page[WorkerView]:
        """Gets the live workers."""
        return self._transport.get("/v1/workers", Page[WorkerView])

    def job_kinds(self) -> Page[KindView]:
        """Gets every kind of job with its parameters and its result."""
        return self._transport.get("/v1/job-kinds", Page[KindView])

    def models(self, **query: Any) -> Page[ArtifactView]:
        """Gets the project's models, newest first.

        Args:
            **query: Fields of PageQuery: limit, cursor.
        """
        return self._transport.get("/v1/models", Page[ArtifactView], PageQuery.of(**query))

    def datasets(self, **query: Any) -> DatasetsView:
        """Gets the data sets that workers can read, and those of the project, newest first.

        Args:
            **query: Fields of PageQuery: limit, cursor.
        """
        return self._transport.get("/v1/datasets", DatasetsView, PageQuery.of(**query))

    def import_dataset(
        self, path: Path, name: str, on_progress: Callable[[int, int], None] | None = None, **query: Any
    ) -> Uploaded:
        """Uploads a set of images and submits a job that imports it.

        Args:
            path: An .npz, an archive, or a folder of train/CLASS/IMAGE.
            name: What the data set is called.
            on_progress: Called with the bytes sent so far and the bytes in all.
            **query: Further fields of ImportDatasetQuery.

        Raises:
            UploadError: The path cannot be uploaded, or something else arrived.
        """
        return self._upload("/v1/datasets", path, ImportDatasetQuery.of(name=name, **query), on_progress)

    def import_model(
        self, path: Path, arch: str, on_progress: Callable[[int, int], None] | None = None, **query: Any
    ) -> Uploaded:
        """Uploads weights and submits a job that imports them.

        Args:
            path: A .safetensors file or a PyTorch state dict.
            arch: Architecture of the network.
            on_progress: Called with the bytes sent so far and the bytes in all.
            **query: Further fields of ImportModelQuery; `mean` and `std` may be lists.

        Raises:
            UploadError: The path cannot be uploaded, or something else arrived.
        """
        return self._upload("/v1/models", path, ImportModelQuery.of(arch=arch, **query), on_progress)

    def download(
        self, artifact_id: str, dest: Path, on_progress: Callable[[int, int], None] | None = None
    ) -> Sequence[Path]:
        """Downloads an artifact's files.

        Each file is written to a temporary file, checked against the manifest's sha256 and renamed.

        Args:
            artifact_id: Id of the artifact.
            dest: Folder for the files.
            on_progress: Called with the bytes received so far and the bytes in all.

        Returns:
            Paths of the files.

        Raises:
            DownloadError: A file does not match its manifest, or its path would lie outside `dest`.
        """
        return download_files(
            self._transport.http, self.artifact(artifact_id), dest, on_progress or (lambda done, total: None)
        )

    def events(self, id: str, last_id: int = 0) -> Iterator[EventView]:
        """Follows an experiment: yields its past events, then new ones, and ends with one of type `end`.

        A broken stream is resumed after the last event.

        Args:
            id: Id of the experiment.
            last_id: Only events after this id.
        """
        return self._transport.events(f"/v1/experiments/{id}/events", last_id)

    def _upload(self, route: str, path: Path, query: Query, on_progress: Callable[[int, int], None] | None) -> Uploaded:
        body = pack(path)

        def send_pieces() -> Iterator[bytes]:
            done = 0
            for piece in body.pieces():
                yield piece
                done += len(piece)
                if on_progress is not None:
                    on_progress(done, body.size)

        answer = self._transport.send(
            "POST", route, params=query.params(), headers=body.headers, make_content=send_pieces
        )
        uploaded = self._transport.read(Uploaded, answer)
        if uploaded.upload != body.sha256:
            raise UploadError(f"{path} arrived with sha256 {uploaded.upload}, not {body.sha256}")
        return uploaded

    def _post(self, path: str, model: type[T], headers: Mapping[str, str] | None = None, body: bytes = b"") -> T:
        return self._transport.read(model, self._transport.send("POST", path, headers=headers, content=body))

    def _delete(self, path: str, model: type[T]) -> T:
        return self._transport.read(model, self._transport.send("DELETE", path))


def _spec_headers(media_type: MediaType) -> dict[str, str]:
    return {"Content-Type": f"application/{media_type}"}
