"""The body of a request that carries a spec, as a dependency of routes."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request

from robxfer_core.planning.experiment import Experiment, read_spec

from .errors import HTTPProblem

MEDIA_TYPES: dict[str, Literal["json", "yaml"]] = {
    "application/json": "json",
    "application/yaml": "yaml",
    "application/x-yaml": "yaml",
    "text/yaml": "yaml",
}


@dataclass(frozen=True)
class SpecBody:
    """A spec as it was sent."""

    data: bytes
    media_type: Literal["json", "yaml"]

    def parse(self) -> Experiment:
        """Validates the spec.

        Raises:
            SpecError: Something in it is wrong.
        """
        return read_spec(self.data, self.media_type)


async def _spec_body(request: Request) -> SpecBody:
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent not in MEDIA_TYPES:
        raise HTTPProblem(415, f"The header Content-Type is {sent or 'missing'!r}; takes {', '.join(MEDIA_TYPES)}.")
    return SpecBody(await request.body(), MEDIA_TYPES[sent])


Spec = Annotated[SpecBody, Depends(_spec_body)]
SPEC_OPENAPI = {
    "requestBody": {
        "required": True,
        "content": {
            media_type: {"schema": Experiment.model_json_schema()}
            for media_type in ("application/json", "application/yaml")
        },
    }
}
"""Describes the body in /openapi.json."""
