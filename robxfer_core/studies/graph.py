"""How a study becomes jobs: they are added one by one, each with the place in the study that it comes from."""

import re
from dataclasses import dataclass, field
from typing import Any

from robxfer_core.jobs.dataset import Dataset
from robxfer_core.spec.base import Strict
from robxfer_core.spec.errors import Place, Problem, SpecError, place


@dataclass
class Graph:
    """The jobs of a study, with matrices, in the language of a spec's own `jobs`."""

    study: str
    """Its name in the spec; names of jobs begin with `study.`."""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    """Where in the study each job comes from, for errors."""

    def add(self, at: Place, job: str, kind: str, **params: Any) -> str:
        """Add a job; its name, for references to it. Raises SpecError where there is one of that name."""
        job = f"{self.study}.{job}"
        if job in self.jobs:
            takes = "parts whose labels and numbers make different names"
            raise SpecError([Problem(place(("studies", self.study, *at)), f"a second job named {job}", takes)])
        self.jobs[job], self.places[job] = {"kind": kind, **params}, at
        return job


def slug(label: str) -> str:
    """A label as part of a job's name: 'digits 5-9' -> 'digits-5-9'."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") or "target"


def plain(model: Strict) -> dict[str, Any]:
    """A part of the study as JSON, to be parameters of a job."""
    return model.model_dump(mode="json")


def dataset_params(dataset: Dataset) -> dict[str, Any]:
    """The parameters of a `dataset` job."""
    return dataset.model_dump(mode="json", exclude={"kind"}, exclude_none=True)
