"""The compose file and the Dockerfiles as their tools read them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
WHOLE = ("command", "entrypoint", "test")  # lists that another file replaces; to others it adds


class _Reset:
    """What compose's tag `!reset` stands for: as if it had not been said."""


@dataclass(frozen=True)
class _Override:
    """What follows compose's tag `!override`: it replaces what was said before."""

    value: Any


class _Loader(yaml.SafeLoader):
    pass


def _override(loader: yaml.SafeLoader, node: yaml.Node) -> _Override:
    made = {"sequence": loader.construct_sequence, "mapping": loader.construct_mapping}[node.id]  # type: ignore[attr-defined]
    return _Override(made(node, deep=True))


_Loader.add_constructor("!reset", lambda *_: _Reset())
_Loader.add_constructor("!override", _override)


def compose(*overrides: str, **variables: str) -> dict[str, Any]:
    """docker-compose.yml, and files of deploy/compose over it, as `docker compose` merges them.

    Variables have the value that is given, or their default; those that are passed on where they are set are absent.
    """
    merged: Any = {}
    for path in (ROOT / "docker-compose.yml", *(ROOT / "deploy/compose" / f"{name}.yml" for name in overrides)):
        merged = _merged(merged, yaml.load(path.read_text(), _Loader))
    return _filled(merged, variables)


def _merged(first: Any, second: Any, key: str = "") -> Any:
    if isinstance(second, _Override):
        return second.value
    if isinstance(first, dict) and isinstance(second, dict):
        merged = first | {name: _merged(first.get(name), value, name) for name, value in second.items()}
        return {name: value for name, value in merged.items() if not isinstance(value, _Reset)}
    if isinstance(first, list) and isinstance(second, list) and key not in WHOLE:
        return [*first, *(each for each in second if each not in first)]
    return second


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    """Variables are filled in after the YAML is read, so that an empty one is text."""
    if isinstance(value, dict):
        told = {key: variables.get(key) if each is None else each for key, each in value.items()}
        return {key: _filled(each, variables) for key, each in told.items() if each is not None}
    if isinstance(value, list):
        return [_filled(each, variables) for each in value]
    if not isinstance(value, str):
        return value
    value = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: variables.get(found[1]) or found[2], value)
    return re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: variables[found[1]], value)


def instructions(text: str) -> dict[str, list[str]]:
    """Of a Dockerfile's last stage, what follows each instruction."""
    found: dict[str, list[str]] = {}
    for line in re.sub(r"\\\n", " ", text).splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found = {}
        if word.isupper():
            found.setdefault(word, []).append(rest.strip())
    return found


def _image(service: Mapping[str, Any]) -> dict[str, list[str]]:
    kind = "worker" if "worker" in service["image"] else "api"
    return instructions((ROOT / f"deploy/Dockerfile.{kind}").read_text())


def health_check(service: Mapping[str, Any]) -> list[str]:
    """What asks whether a container of our image is healthy."""
    (check,) = _image(service)["HEALTHCHECK"]
    return json.loads(check.partition("CMD ")[2])


def command(service: Mapping[str, Any]) -> list[str]:
    """What a container of our image runs."""
    (entry,) = _image(service)["ENTRYPOINT"]
    return [*json.loads(entry), *service["command"]]
