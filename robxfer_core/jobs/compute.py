"""Computes a job: calls its kind's entry point and writes its result.json."""

import json
import math
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from .base import Job
from .registry import get_kind
from .results import Result
from .run import Inputs, Run

RESULT_BYTES = 64 * 1024
"""Most bytes of a result.json: a report reads hundreds of them."""


def compute(kind: str, params: dict[str, Any], inputs: Inputs, run: Run) -> None:
    """Compute a job: its files, and `result.json`, are left in `run.out`.

    `params` are the kind's parameters as JSON, with keys where the spec had references. Raises LookupError for an
    unknown kind, pydantic's ValidationError for parameters that do not fit, ValueError for a result that is too large,
    not JSON or not finite, FileNotFoundError where the function left less than FILES, and whatever the function raises
    (`Preempted` among it).
    """
    model = get_kind(kind)
    job = model.model_validate(params)
    result = entry_point(model)(job, inputs, run)
    lacking = [name for name in model.FILES if not (run.out / name).is_file()]
    if lacking:
        raise FileNotFoundError(f"{kind} did not leave {', '.join(lacking)}")
    (run.out / "result.json").write_bytes(result_json(result))


def result_json(result: Result | dict[str, Any]) -> bytes:
    """The bytes of a result.json: sorted keys, finite numbers, at most RESULT_BYTES."""
    if isinstance(result, Result):
        result = result.model_dump(mode="json", by_alias=True)
    for at, number in _floats(result):
        if not math.isfinite(number):
            raise ValueError(f"result{at} is {number}; takes finite numbers")
    text = json.dumps(result, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    if len(text) > RESULT_BYTES:
        raise ValueError(f"the result has {len(text)} bytes; takes at most {RESULT_BYTES}")
    return text


def entry_point(kind: type[Job]) -> Callable[[Job, Inputs, Run], Result | dict[str, Any]]:
    """The function that computes jobs of a kind. Its module is imported here: those of other kinds cost memory."""
    module, name = kind.ENTRY.split(":")
    return getattr(import_module(module), name)


def _floats(value: Any, at: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield at, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _floats(item, f"{at}.{name}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _floats(item, f"{at}[{index}]")
