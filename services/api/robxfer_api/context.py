"""What routes are given: the settings, the ledger's engine, the store, the event fan."""

import logging
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Annotated, Literal

from anyio import CapacityLimiter
from fastapi import Depends, Header, Path, Query, Request
from sqlalchemy import Engine

from robxfer_core import messaging
from robxfer_core.ledger.counts import Tally
from robxfer_core.planning.experiment import Experiment, read_spec
from robxfer_core.settings import Settings
from robxfer_core.storage import Store

from .errors import Refused
from .events import Fan
from .rate_limit import AtOnce
from .readiness import Needs

AT_ONCE = 16  # uploads that one process takes at the same time: each holds a thread
UPLOADS, STREAMS = 4, 200  # of one caller
log = logging.getLogger(__name__)
MEDIA: dict[str, Literal["json", "yaml"]] = {
    "application/json": "json",
    "application/yaml": "yaml",
    "application/x-yaml": "yaml",
    "text/yaml": "yaml",
}


@dataclass(frozen=True)
class Context:
    """What one app is made of."""

    settings: Settings
    engine: Engine
    store: Store
    fan: Fan
    ringer: Executor
    tally: Tally = field(default_factory=Tally)
    needs: Needs = field(default_factory=Needs)
    uploading: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(AT_ONCE))
    """Uploads that arrive at the moment."""
    uploads: AtOnce = field(default_factory=lambda: AtOnce(UPLOADS, "uploads"))
    streams: AtOnce = field(default_factory=lambda: AtOnce(STREAMS, "event streams"))

    def ring(self, queues: list[str]) -> None:
        """Rings the bell, best effort and not in the request's time: the sweep finds what it does not reach."""
        if queues:
            self.ringer.submit(self._ring, queues)

    def _ring(self, queues: list[str]) -> None:
        try:
            messaging.notify(self.settings, queues)
        except Exception:
            log.exception("the bell could not be rung")


def context(request: Request) -> Context:
    return request.app.state.context


Ctx = Annotated[Context, Depends(context)]


PLAIN = r"^[^\x00]*$"
Limit = Annotated[int, Query(ge=1, le=1000)]
Cursor = Annotated[str | None, Query(max_length=200, pattern=PLAIN)]
Text = Annotated[str | None, Query(max_length=300, pattern=PLAIN)]
Id = Annotated[str, Path(max_length=60, pattern=r"^[a-z]+_[0-9a-z]+$")]
LastId = Annotated[int, Header(ge=0, le=2**53)]


@dataclass(frozen=True)
class SpecBody:
    """A spec as it was posted."""

    data: bytes
    media: Literal["json", "yaml"]

    def read(self) -> Experiment:
        """Raises SpecError."""
        return read_spec(self.data, self.media)


async def spec_body(request: Request) -> SpecBody:
    """The request's body, JSON or YAML."""
    named = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if named not in MEDIA:
        raise Refused(415, f"The header Content-Type is {named or 'missing'!r}; takes {', '.join(MEDIA)}.")
    return SpecBody(await request.body(), MEDIA[named])


Spec = Annotated[SpecBody, Depends(spec_body)]
SPEC_OPENAPI = {
    "requestBody": {
        "required": True,
        "content": {
            media: {"schema": Experiment.model_json_schema()} for media in ("application/json", "application/yaml")
        },
    }
}
