"""The typed HTTP client: one method for each route."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import httpx2
import stamina
from pydantic import BaseModel, ValidationError

from robxfer_core.spec.wire.artifacts import ArtifactView, DatasetsView
from robxfer_core.spec.wire.base import Page, ProblemView
from robxfer_core.spec.wire.experiments import ExperimentRow, ExperimentView, Submitted, Uploaded
from robxfer_core.spec.wire.jobs import EventView, JobView, KindView, MetricRow
from robxfer_core.spec.wire.operating import AuditLine, TokenView, WorkerView
from robxfer_core.spec.wire.plan import PlanView

from .download import download_files
from .errors import ApiError, Unreachable, UploadError
from .upload import pack

T = TypeVar("T", bound=BaseModel)
Media = Literal["yaml", "json"]

TRIES = 4
TRY_AGAIN = frozenset({429, 502, 503, 504})
QUIET_S = 45.0  # a stream sends a comment each 15 s: silent for thrice that is dead
OUT_OF_REACH_S = 60.0  # how long a stream that broke is tried again before it is given up


class _Busy(Exception):
    """An answer that asks to be tried again."""


class Client:
    """Talks to one service.

    Requests that may be repeated without harm (all but a submission without a key of its own, which gets one) are tried
    up to 4 times. Raises ApiError where the service refuses, Unreachable where it does not answer.
    """

    def __init__(self, base_url: str, token: str | None = None, timeout: float = 30.0) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = timeout
        try:
            self._http = httpx2.Client(base_url=base_url, headers=headers, timeout=timeout, follow_redirects=True)
        except httpx2.InvalidURL as error:
            raise Unreachable(f"{base_url}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def submit(self, spec: bytes, media: Media = "yaml", idempotency_key: str | None = None) -> Submitted:
        """Asks for a spec to be run. The same key with the same spec is submitted once."""
        key = idempotency_key or uuid.uuid4().hex
        return self._post("/v1/experiments", Submitted, _spec(spec, media) | {"Idempotency-Key": key}, spec)

    def plan(self, spec: bytes, media: Media = "yaml") -> PlanView:
        """What submitting the spec would compute, without running it."""
        return self._post("/v1/experiments/plan", PlanView, _spec(spec, media), spec)

    def get(self, id: str) -> ExperimentView:
        return self._get(f"/v1/experiments/{id}", ExperimentView)

    def list(
        self,
        state: str | None = None,
        name: str | None = None,
        label: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[ExperimentRow]:
        """One page of experiments, newest first; `label` is `key=value`."""
        asked = {"state": state, "name": name, "label": label, "limit": limit, "cursor": cursor}
        return self._get("/v1/experiments", Page[ExperimentRow], asked)

    def cancel(self, id: str) -> ExperimentView:
        return self._post(f"/v1/experiments/{id}/cancel", ExperimentView)

    def retry(self, id: str) -> ExperimentView:
        return self._post(f"/v1/experiments/{id}/retry", ExperimentView)

    def job(self, id: str) -> JobView:
        return self._get(f"/v1/jobs/{id}", JobView)

    def metrics(self, id: str, cursor: str | None = None, limit: int = 1000) -> Page[MetricRow]:
        """Values of a job, by name and step."""
        return self._get(f"/v1/jobs/{id}/metrics", Page[MetricRow], {"cursor": cursor, "limit": limit})

    def logs(self, id: str, cursor: str | None = None, limit: int = 1000) -> Page[EventView]:
        """Log lines of a job, oldest first."""
        return self._get(f"/v1/jobs/{id}/logs", Page[EventView], {"cursor": cursor, "limit": limit})

    def report(self, id: str, node: str | None = None) -> dict[str, Any]:
        """The report of an experiment that is done: report.json."""
        return self._send("GET", f"/v1/experiments/{id}/report", params=_asked({"node": node})).json()

    def artifact(self, id: str) -> ArtifactView:
        return self._get(f"/v1/artifacts/{id}", ArtifactView)

    def result(self, id: str) -> dict[str, Any]:
        """The result.json of an artifact: the numbers that its job was for."""
        return self._send("GET", f"/v1/artifacts/{id}/files/result.json").json()

    def pin(self, id: str) -> ArtifactView:
        """Keeps an artifact from being collected."""
        return self._post(f"/v1/artifacts/{id}/pin", ArtifactView)

    def unpin(self, id: str) -> ArtifactView:
        return self._read(ArtifactView, self._send("DELETE", f"/v1/artifacts/{id}/pin"))

    def tokens(self, limit: int = 50, cursor: str | None = None) -> Page[TokenView]:
        """The project's tokens, for its administrators."""
        return self._get("/v1/tokens", Page[TokenView], {"limit": limit, "cursor": cursor})

    def revoke_token(self, id: str) -> TokenView:
        return self._read(TokenView, self._send("DELETE", f"/v1/tokens/{id}"))

    def audit(self, limit: int = 50, cursor: str | None = None) -> Page[AuditLine]:
        """Who asked for what change in the project, for its administrators."""
        return self._get("/v1/audit", Page[AuditLine], {"limit": limit, "cursor": cursor})

    def workers(self) -> Page[WorkerView]:
        return self._get("/v1/workers", Page[WorkerView])

    def job_kinds(self) -> Page[KindView]:
        return self._get("/v1/job-kinds", Page[KindView])

    def models(self, limit: int = 50, cursor: str | None = None) -> Page[ArtifactView]:
        return self._get("/v1/models", Page[ArtifactView], {"limit": limit, "cursor": cursor})

    def datasets(self, limit: int = 50, cursor: str | None = None) -> DatasetsView:
        return self._get("/v1/datasets", DatasetsView, {"limit": limit, "cursor": cursor})

    def import_dataset(
        self, path: Path, name: str, on_progress: Callable[[int, int], None] | None = None, **options: Any
    ) -> Uploaded:
        """Uploads a set of images, an .npz, an archive or a folder of them, and has a job import it.

        options: those of the job kind `import_dataset`. `on_progress(done, total)` counts bytes. Raises UploadError.
        """
        return self._upload("/v1/datasets", path, {"name": name, **options}, on_progress)

    def import_model(
        self, path: Path, arch: str, on_progress: Callable[[int, int], None] | None = None, **options: Any
    ) -> Uploaded:
        """Uploads weights and has a job import them; options: width, input_size, mean, std, dataset, norm, eps, seed.

        `mean` and `std` are lists. `on_progress(done, total)` counts bytes. Raises UploadError.
        """
        for field in {"mean", "std"} & options.keys():
            options[field] = options[field] and ",".join(map(str, options[field]))
        return self._upload("/v1/models", path, {"arch": arch, **options}, on_progress)

    def _upload(
        self, route: str, path: Path, asked: Mapping[str, Any], on_progress: Callable[[int, int], None] | None
    ) -> Uploaded:
        parcel = pack(path)

        def tell() -> Iterator[bytes]:
            done = 0
            for piece in parcel.pieces():
                yield piece
                done += len(piece)
                if on_progress is not None:
                    on_progress(done, parcel.size)

        answer = self._send("POST", route, params=_asked(asked), headers=parcel.headers, make_content=tell)
        uploaded = self._read(Uploaded, answer)
        if uploaded.upload != parcel.sha256:
            raise UploadError(f"{path} arrived with sha256 {uploaded.upload}, not {parcel.sha256}")
        return uploaded

    def download(
        self, artifact_id: str, dest: Path, on_progress: Callable[[int, int], None] | None = None
    ) -> Sequence[Path]:
        """Fetches an artifact's files into the folder `dest`; returns their paths.

        Each file is written aside, checked against the manifest's sha256 and renamed. `on_progress(done, total)`
        counts bytes. Raises DownloadError for a file that does not fit its manifest or would leave `dest`.
        """
        return download_files(self._http, self.artifact(artifact_id), dest, on_progress or (lambda done, total: None))

    def events(self, id: str, last_id: int = 0) -> Iterator[EventView]:
        """An experiment's events after `last_id`, as they happen; the last one is of type `end`.

        A broken stream is taken up where it broke; Unreachable after a minute without an answer.
        """
        broken: float | None = None  # since when no connection has come about
        wait = 0.1
        while True:
            try:
                with self._listen(id, last_id) as lines:
                    broken = None
                    for line in lines:
                        if line.data:
                            event = EventView.model_validate_json(line.data)
                            last_id, wait = event.id, 0.1
                            yield event
                            if event.type == "end":
                                return
            except (httpx2.TransportError, _Busy) as error:
                broken = broken or time.monotonic()
                if time.monotonic() - broken > OUT_OF_REACH_S:
                    raise Unreachable(f"{self._http.base_url}: {error or type(error).__name__}") from error
            time.sleep(wait)
            wait = min(2 * wait, 5.0)

    @contextmanager
    def _listen(self, id: str, last_id: int) -> Iterator[httpx2.EventSource]:
        headers = {"Last-Event-ID": str(last_id)} if last_id else {}
        timeout = httpx2.Timeout(self._timeout, read=QUIET_S)
        with self._http.sse(f"/v1/experiments/{id}/events", headers=headers, timeout=timeout) as source:
            _check(source.response)
            yield source

    def _get(self, path: str, model: type[T], params: Mapping[str, Any] | None = None) -> T:
        return self._read(model, self._send("GET", path, params=_asked(params or {})))

    def _post(self, path: str, model: type[T], headers: Mapping[str, str] | None = None, body: bytes = b"") -> T:
        return self._read(model, self._send("POST", path, headers=headers, content=body))

    def _read(self, model: type[T], response: httpx2.Response) -> T:
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise Unreachable(f"{self._http.base_url}: what answers there is no robxfer service") from error

    def _send(
        self, method: str, path: str, make_content: Callable[[], Iterator[bytes]] | None = None, **request: Any
    ) -> httpx2.Response:
        """make_content: makes the body anew for each try."""
        try:
            for attempt in stamina.retry_context(
                on=(httpx2.TransportError, _Busy), attempts=TRIES, wait_initial=0.1, wait_max=2.0, wait_jitter=0.2
            ):
                with attempt:
                    if make_content is not None:
                        request["content"] = make_content()
                    response = self._http.request(method, path, **request)
                    _check(response, last=attempt.num == TRIES)
                    return response
        except httpx2.TransportError as error:
            raise Unreachable(f"{self._http.base_url}: {error or type(error).__name__}") from error
        raise AssertionError("a retried request either answers or raises")


def _check(response: httpx2.Response, last: bool = False) -> None:
    """Raises what a response that is not a success says."""
    if response.status_code in TRY_AGAIN and not last:
        raise _Busy(f"status {response.status_code}")
    if not response.is_success:
        response.read()
        raise ApiError(_problem(response))


def _problem(response: httpx2.Response) -> ProblemView:
    try:
        return ProblemView.model_validate_json(response.content)
    except ValidationError:  # not ours: a proxy's page, say
        return ProblemView(title=response.reason_phrase or "Error", status=response.status_code)


def _spec(spec: bytes, media: Media) -> dict[str, str]:
    return {"Content-Type": f"application/{media}"}


def _asked(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}
