"""Errors of a spec: each names the place, what it got and what is taken there."""

import json
from dataclasses import asdict, dataclass
from typing import Any

Place = tuple[str | int, ...]
"""A place in a spec: ("jobs", "source", "levels", 1)."""
SHOWN = 120  # characters of a wrong value that are echoed


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a spec: `at` is a place such as `jobs.source.threat.eps`."""

    at: str
    got: str
    takes: str

    def __str__(self) -> str:
        return f"{self.at or 'spec'}: got {self.got}; takes {self.takes}"

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


class SpecError(ValueError):
    """A spec that cannot be taken. `problems` lists every place found wrong; nothing has been stored."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def show(value: Any) -> str:
    """A value as a short piece of JSON, safe to echo."""
    try:
        text = json.dumps(value, default=str)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def place(parts: tuple[str | int, ...] | list[str | int]) -> str:
    """('jobs', 'source', 'levels', 1) -> 'jobs.source.levels[1]', in text that UTF-8 can hold."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text.encode("utf-8", "backslashreplace").decode()
