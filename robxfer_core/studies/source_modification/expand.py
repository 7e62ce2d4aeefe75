"""The study `source_modification` as jobs."""

from typing import Any

from robxfer_core.jobs.train import Training
from robxfer_core.studies.graph import Graph, dataset_params, plain

from .spec import OTHER_SEEDS, SourceModification


def expand(graph: Graph, study: SourceModification) -> None:
    """Add the study's jobs."""
    add = graph.add
    data = add(("source", "dataset"), "source-data", "dataset", **dataset_params(study.source.dataset))
    target = add(("target", "dataset"), "target-data", "dataset", **dataset_params(study.target.dataset))
    begun: dict[str, Any] = {}
    if study.seed_data is not None:
        begun["seed_data"] = add(("seed_data",), "seed-data", "dataset", **dataset_params(study.seed_data))
    training, generating = _trainings(study, study.source.training), _trainings(study, study.generator)
    arms = {
        name: _Arm(graph, study, name, target)
        for name in ("standard", "robust", "nonrobust", "adversarial", "random_init")
    }
    for seed in study.seeds:
        for name in ("standard", "adversarial"):
            arms[name].source(seed, data, data, training[name])
        untrained = training["standard"] | {"epochs": 0}
        arms["random_init"].source(seed, data, data, untrained, evaluated=False)
        for name, like in (("robust", "adversarial"), ("nonrobust", "standard")):
            made = arms[name].made(seed, data, begun, generating[like])
            arms[name].source(seed, made, data, training["standard"])
    for name, like in (("standard", "standard"), ("adversarial", "adversarial")):
        arms[name].told["training"] = training[like]
    for name, like in (("robust", "adversarial"), ("nonrobust", "standard")):
        arms[name].told |= {"training": training["standard"], "generator_training": generating[like]}
    add(
        (),
        "report",
        "source_modification_report",
        title=study.title,
        target=study.target.label,
        data=[data],
        arms=[arm.told for arm in arms.values()],
        eps=study.eps,
        margin=study.margin,
        min_agreement=study.min_agreement,
    )


def _trainings(study: SourceModification, training: Training | None) -> dict[str, dict[str, Any]]:
    """The standard and the adversarial form of a training, which differ in eps alone."""
    of = plain(training or study.source.training)
    levels = {"standard": 0.0, "adversarial": study.eps}
    return {name: of | {"threat": {"norm": study.norm, "eps": eps}} for name, eps in levels.items()}


class _Arm:
    """Adds the jobs of an arm, seed by seed, and gathers what the report is told of it.

    Not by matrices: a generator's seed is another than that of the source that is trained on what it made.
    """

    def __init__(self, graph: Graph, study: SourceModification, name: str, target: str) -> None:
        self.graph, self.study, self.name, self.target = graph, study, name, target
        self.told: dict[str, Any] = {"name": name, "transfers": [], "sources": [], "made": [], "generators": []}

    def source(
        self, seed: int, trained_on: str, data: str, training: dict[str, Any], *, evaluated: bool = True
    ) -> None:
        """A source, its evaluation on the source set's own test split, and the head on it."""
        add, at = self.graph.add, f"{self.name}-{seed}"
        model = add(("source", "training"), f"source.{at}", "train", dataset=trained_on, seed=seed, **training)
        if evaluated:
            self.told["sources"].append(self._evaluate(f"source-accuracy.{at}", model, data, seed))
        features = add(("target",), f"features.{at}", "features", model=model, dataset=self.target)
        heads = plain(self.study.heads)
        self.told["transfers"].append(
            add(("heads",), f"transfer.{at}", "transfer", features=features, seed=seed, **heads)
        )

    def made(self, seed: int, data: str, begun: dict[str, Any], training: dict[str, Any]) -> str:
        """The set that a generator made."""
        add, at = self.graph.add, f"{self.name}-{seed}"
        where = ("generator",) if self.study.generator is not None else ("source", "training")
        generator = add(where, f"generator.{at}", "train", dataset=data, seed=seed + OTHER_SEEDS, **training)
        self.told["generators"].append(self._evaluate(f"generator-accuracy.{at}", generator, data, seed))
        matching = plain(self.study.matching)
        made = add(
            ("matching",),
            f"data.{at}",
            "robustify_dataset",
            dataset=data,
            generator=generator,
            seed=seed,
            **begun,
            **matching,
        )
        self.told["made"].append(made)
        return made

    def _evaluate(self, job: str, model: str, data: str, seed: int) -> str:
        return self.graph.add(
            ("evaluation",),
            job,
            "evaluate",
            model=model,
            dataset=data,
            norm=self.study.norm,
            eps=[0.0, self.study.eps],
            attack=plain(self.study.evaluation),
            max_images=self.study.evaluation_images,
            seed=seed,
        )
