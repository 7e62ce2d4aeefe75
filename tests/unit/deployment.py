"""The compose file and the Dockerfiles as their tools read them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def compose() -> dict[str, Any]:
    """docker-compose.yml with its anchors merged, and its variables at their defaults."""
    return _filled(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def _filled(value: Any) -> Any:
    """Variables are filled in after the YAML is read, so that an empty one is text."""
    if isinstance(value, dict):
        return {key: _filled(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each) for each in value]
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) if isinstance(value, str) else value


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
