"""The study `steganalysis` (the paper's section 5): is a message hidden in an image found by robust representations?

The paper names steganalysis as a natural task of non-robust features, and leaves it at that. Here a family of source
models by robustness is transferred to it, beside networks that are trained for it.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from robxfer_core.jobs.dataset import Dataset
from robxfer_core.jobs.embed_stego import Embedding
from robxfer_core.jobs.train import Training
from robxfer_core.spec.base import Strict
from robxfer_core.spec.fields import Arch, Attack, Augment, Seed, Sgd
from robxfer_core.studies.family import Eps, Source
from robxfer_core.studies.graph import slug

LABELS = {"lsb_matching": "LSB matching", "textured": "textured"}


class Detector(Strict):
    """The reference: a network trained on covers and stegos from end to end."""

    training: Training = Training(
        arch=Arch(name="highpass_cnn"),
        epochs=30,
        batch_size=64,
        optimizer=Sgd(lr=0.05),
        augment=Augment(flip=True),
    )
    """How it is trained; eps is 0, and its `holdout` is the study's `validation`."""
    seeds: list[Seed] = Field(default=[0], min_length=1, max_length=100)
    """One network a seed."""


class Steganalysis(Strict):
    """Does robustness hinder where a task has no robust features at all?"""

    kind: Literal["steganalysis"]
    title: str = Field(default="Steganalysis by robustness", min_length=1, max_length=120)
    """Of the report."""
    source: Source
    """What the family is trained on, and how."""
    norm: Literal["l2", "linf"] = "l2"
    """Of every threat model of the study."""
    levels: list[Eps] = Field(min_length=2, max_length=20)
    """The family's eps, 0 among them."""
    seeds: list[Seed] = Field(min_length=1, max_length=100)
    """One independent family a seed. All of them see the same covers and stegos."""
    covers: Dataset
    """Images that messages are hidden in, at the size that they are stored in: exact pixels, never a JPEG."""
    assume_lossless: bool = False
    """Of covers whose history is not known: you say that they were never a JPEG."""
    embeddings: list[Embedding] = Field(
        default=[
            Embedding(method=method, payload=payload)
            for method in ("lsb_matching", "textured")
            for payload in (1.0, 0.4)
        ],
        min_length=1,
        max_length=20,
    )
    """The tasks: one set of covers and stegos each."""
    detector: Detector = Detector()
    """The high-pass network. A task that it cannot do is `unusable`, as is one in which no source beats chance."""
    validation: float = Field(default=0.2, gt=0, le=0.5)
    """Fraction of the training pairs that no detector learns from; they set its threshold."""
    evaluation: Attack = Attack(steps=20)
    """The attack on the source models' test images at every level."""
    evaluation_images: int = Field(default=1000, ge=1)
    """Test images that it is run on."""
    margin: float = Field(default=0.01, gt=0, lt=1)
    """Differences of 1 - P_E within +-margin count as none (1 point)."""
    max_p_e: float = Field(default=0.4, gt=0, le=0.5)
    """P_E of the high-pass networks, from which on a task is `unusable`."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if 0.0 not in self.levels:
            raise ValueError(f"levels with 0, the standard model, among them, not {self.levels}")
        if self.source.training is None:
            raise ValueError("a source with `training`, not a published family")
        tasks = [label(each) for each in self.embeddings]
        for name, values in (("levels", self.levels), ("seeds", self.seeds)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} without repetition, not {values}")
        if len(set(map(slug, tasks))) != len(tasks):  # the names of their jobs
            raise ValueError(f"embeddings that differ in method or in the first 6 digits of payload, not {tasks}")
        return self


def label(embedding: Embedding) -> str:
    """'LSB matching, payload 0.4'."""
    return f"{LABELS[embedding.method]}, payload {embedding.payload:g}"
