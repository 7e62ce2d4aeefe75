"""The family of source models of a study: trained here, or published by others."""

from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from robxfer_core.jobs.dataset import Dataset
from robxfer_core.jobs.import_dataset import Upload
from robxfer_core.jobs.train import Training
from robxfer_core.spec.base import Strict
from robxfer_core.spec.fields import Arch, Seed

from .graph import Graph, Place, dataset_params, plain

Eps = Annotated[float, Field(ge=0, le=1000)]


class Published(Strict):
    """A family that others trained, one checkpoint a level: fetched by the level's eps, and imported.

    What it was trained against is taken by their word, and nothing is known of the variance of its training.
    """

    arch: Arch
    """The network."""
    file: str = Field(min_length=5, max_length=128)
    """Name of a level's file, with `{eps}` in it: `resnet18_l2_eps{eps}.ckpt`."""
    urls: list[str] = Field(default=[], max_length=10)
    """Folders where they are published, ending in `/`; mirrors after the first."""
    folder: str = "models"
    """Under ROBXFER_DATA_ROOT, where the files may lie already."""
    sha256: dict[str, Upload] = Field(default={}, max_length=100)
    """By the file's name."""


class Target(Strict):
    """A data set that sources are transferred to."""

    label: Annotated[str, StringConstraints(min_length=1, max_length=60)]
    """What the report calls it."""
    dataset: Dataset
    """The target task."""


class Source(Strict):
    """A family of source models: `training` on a `dataset`, where the study sets eps and seed, or `published`."""

    dataset: Dataset | None = None
    """The source task. Of a published family it may be left out: then its accuracy is not measured."""
    training: Training | None = None
    """How each model of the family is trained; the study sets eps."""
    published: Published | None = None
    """A family of others, in place of `training`; takes one seed, which draws everything else."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.training is None) == (self.published is None):
            raise ValueError("`training` or `published`, and not both")
        if self.training is not None and self.dataset is None:
            raise ValueError("a `dataset` to train on")
        return self

    @property
    def arch(self) -> Arch:
        made = self.training or self.published
        assert made is not None  # the validator has seen to it
        return made.arch


def add_family(
    graph: Graph, at: Place, source: Source, norm: str, levels: list[float], seeds: list[Seed], prefix: str = ""
) -> tuple[str, str | None]:
    """Add the jobs of the family: the job of its models, and that of its data set, if any.

    The models' axes are eps and seed; without seeds, of a published family, eps alone.
    """
    data = None
    if source.dataset is not None:
        data = graph.add((*at, "dataset"), f"{prefix}source-data", "dataset", **dataset_params(source.dataset))
    if source.training is not None:
        how = plain(source.training) | {"threat": {"norm": norm}}
        matrix = {"threat.eps": levels, "seed": seeds}
        return graph.add((*at, "training"), f"{prefix}source", "train", dataset=data, **how, matrix=matrix), data
    assert source.published is not None
    return add_published(graph, (*at, "published"), source.published, norm, levels, seeds, data, prefix), data


def add_published(
    graph: Graph,
    at: Place,
    published: Published,
    norm: str,
    levels: list[float],
    seeds: list[Seed],
    data: str | None = None,
    prefix: str = "",
) -> str:
    """Add the jobs that fetch and import a published family; the job of its models, with axes eps and, if any, seed.

    data: the job of the set that its accuracy is measured on.
    """
    params: dict[str, Any] = plain(published)
    arch = params.pop("arch")
    files = graph.add(at, f"{prefix}source-file", "fetch", **params, matrix={"eps": levels})
    matrix = {"seed": seeds} if seeds else None
    threat = {"norm": norm, "eps": "$eps"}
    return graph.add(
        at, f"{prefix}source", "import_model", file=files, arch=arch, threat=threat, dataset=data, matrix=matrix
    )


def add_random_init(graph: Graph, at: Place, source: Source, norm: str, seeds: list[Seed], data: str, job: str) -> str:
    """Add networks of the family's architecture at their random start, calibrated on a data set."""
    made = plain(source.training) if source.training is not None else {"arch": plain(source.arch)}
    start = made | {"epochs": 0, "threat": {"norm": norm, "eps": 0.0}}
    return graph.add(at, job, "train", dataset=data, **start, matrix={"seed": seeds})
