"""Path and header parameters that several routes take."""

from typing import Annotated

from fastapi import Header, Path

Id = Annotated[str, Path(max_length=60, pattern=r"^[a-z]+_[0-9a-z]+$")]
LastEventId = Annotated[int, Header(ge=0, le=2**53)]
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]
