"""The study `transfer_gap` as jobs."""

from typing import Any

from robxfer_core.jobs.transfer import Regime
from robxfer_core.studies.family import add_family, add_random_init
from robxfer_core.studies.graph import Graph, Place, dataset_params, plain, slug

from .spec import TransferGap


def expand(graph: Graph, study: TransferGap) -> None:
    """Add the study's jobs."""
    add = graph.add
    source, source_data = add_family(graph, ("source",), study.source, study.norm, study.levels, study.seeds)
    accuracy = []
    if source_data is not None:
        accuracy = [
            add(
                ("evaluation",),
                "source-accuracy",
                "evaluate",
                model=source,
                dataset=source_data,
                norm=study.norm,
                eps=sorted(study.levels),
                attack=plain(study.evaluation),
                max_images=study.evaluation_images,
                seed="$seed",
            )
        ]

    arms: dict[Regime, list[dict[str, Any]]] = {regime: [] for regime in study.regime}
    random_init = "" if source_data is None else _random_init(graph, study, source_data, "random-init")
    for index, target in enumerate(study.targets):
        variants = _variants(graph, study, index, source)
        at_random = random_init or _random_init(graph, study, variants[0][1], f"{slug(target.label)}.random-init")
        models = {"": source, "random-init-": at_random}
        for variant, data, made in variants:
            for regime in study.regime:
                transfers = _transfers(graph, study, index, regime, variant, data, models)
                arms[regime].append({"target": target.label, "variant": variant, "transfers": transfers, "data": made})
    for regime in study.regime:
        several = len(study.regime) > 1
        add(
            (),
            f"{_words(regime)}.report" if several else "report",
            "transfer_gap_report",
            title=f"{study.title[:100]}, {_words(regime)}" if several else study.title,
            regime=regime,
            sources=accuracy,
            arms=arms[regime],
            margin=study.margin,
            min_fooling=study.min_fooling,
        )


def _random_init(graph: Graph, study: TransferGap, data: str, job: str) -> str:
    """The networks of the random arm; where the family's own data set is not at hand, calibrated on the target's."""
    place = "training" if study.source.training is not None else "published"
    return add_random_init(graph, ("source", place), study.source, study.norm, study.seeds, data, job)


def _words(regime: Regime) -> str:
    return regime.replace("_", "-")


def _transfers(
    graph: Graph, study: TransferGap, index: int, regime: Regime, variant: str, data: str, models: dict[str, str]
) -> list[str]:
    """The transfers of one variant of a target in one regime, from the family and from the random networks."""
    target, names = study.targets[index], []
    at, field = slug(target.label), "heads" if regime == "fixed_feature" else "fine_tuning"
    own = getattr(target, field)
    how = plain(own or getattr(study, field)) | {"seed": "$seed"}
    where: Place = ("targets", index, field) if own else (field,)
    if study.robust_transfer is not None:
        how["robust"] = plain(study.robust_transfer)
    on_features = regime == "fixed_feature" and study.preset == "clean"
    for family, model in models.items():
        if on_features:
            features = graph.add(
                ("targets", index), f"{at}.{variant}.{family}features", "features", model=model, dataset=data
            )
            clean = None if variant == "standard" else f"{graph.study}.{at}.standard.{family}features"
            taken: dict[str, Any] = {"features": features, "clean": clean}
            if study.robust_transfer is not None:
                taken |= {"model": model, "dataset": data}
        else:
            clean = None if variant == "standard" else f"{graph.study}.{at}.data"
            taken = {"model": model, "dataset": data, "clean_dataset": clean, "preset": study.preset, "regime": regime}
        job = "transfer" if regime == "fixed_feature" else "full-network"
        names.append(graph.add(where, f"{at}.{variant}.{family}{job}", "transfer", **taken, **how))
    return names


def _variants(graph: Graph, study: TransferGap, index: int, source: str) -> list[tuple[str, str, list[str]]]:
    """(variant, the job that makes its data, the constructed sets to report) for one target."""
    add = graph.add
    target = study.targets[index]
    at = slug(target.label)
    generator, antirobust = target.generator or study.generator, target.antirobust or study.antirobust
    own: Place = ("targets", index) if target.generator else ()
    trained: Place = (*own, "generator", "training")
    moving: Place = ("targets", index, "antirobust") if target.antirobust else ("antirobust",)
    data = add(("targets", index, "dataset"), f"{at}.data", "dataset", **dataset_params(target.dataset))
    training = {"dataset": data, **plain(generator.training), "matrix": {"seed": study.seeds}}
    if generator.start == "source":
        training = {**training, "init": f"{source}[eps=0.0]", "seed": "$seed"}
        del training["matrix"]
    standard = add(trained, f"{at}.generator", "train", **training | {"threat": {"norm": study.norm, "eps": 0.0}})

    def perturb(job: str, model: str, **more: Any) -> str:
        return add(
            moving,
            f"{at}.{job}",
            "perturb_dataset",
            dataset=data,
            generator=model,
            threat={"norm": study.norm, "eps": antirobust.eps},
            attack=plain(antirobust.attack),
            targets=antirobust.targets,
            store=antirobust.store,
            seed="$seed",
            **more,
        )

    moved = perturb("antirobust", standard)
    variants = [("standard", data, list[str]()), ("antirobust", moved, [moved])]
    for arm in ("relabel_only", "noise"):
        if arm in study.controls:
            control = add(moving, f"{at}.{arm}", "control_dataset", like=moved, dataset=data, arm=arm, seed="$seed")
            variants.append((arm, control, [control]))
    if "robust_generator" in study.controls and generator.robust is not None:
        robust = generator.robust
        threat = {"norm": study.norm, "eps": robust.eps}
        model = add(
            trained, f"{at}.generator-robust", "train", **training | {"threat": threat, "attack": plain(robust.attack)}
        )
        made = perturb("robust_generator", model, raise_eps=plain(robust.raise_eps))
        variants.append(("robust_generator", made, [made]))
    return variants
