"""The study `steganalysis` as jobs."""

from typing import Any

from robxfer_core.studies.family import add_family, add_random_init
from robxfer_core.studies.graph import Graph, dataset_params, plain, slug

from .spec import Steganalysis, label


def expand(graph: Graph, study: Steganalysis) -> None:
    """Add the study's jobs."""
    add = graph.add
    source, source_data = add_family(graph, ("source",), study.source, study.norm, study.levels, study.seeds)
    assert source_data is not None  # what is trained has a data set
    accuracy = add(
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
    at = ("source", "training")
    random_init = add_random_init(graph, at, study.source, study.norm, study.seeds, source_data, "random-init")
    covers = add(("covers",), "covers", "dataset", **dataset_params(study.covers))
    arms = [_arm(graph, study, index, covers, (source, random_init)) for index in range(len(study.embeddings))]
    add(
        (),
        "report",
        "steganalysis_report",
        title=study.title,
        sources=[accuracy],
        arms=arms,
        margin=study.margin,
        max_p_e=study.max_p_e,
    )


def _arm(graph: Graph, study: Steganalysis, index: int, covers: str, models: tuple[str, str]) -> dict[str, Any]:
    """The jobs of one task, as the report takes them."""
    add, embedding = graph.add, study.embeddings[index]
    task = slug(label(embedding))
    at = ("embeddings", index)
    made = add(
        at,
        f"{task}.set",
        "embed_stego",
        dataset=covers,
        assume_lossless=study.assume_lossless,
        **plain(embedding),
    )
    detections = []
    for family, model in zip(("", "random-init-"), models, strict=True):
        features = add(at, f"{task}.{family}features", "features", model=model, dataset=made)
        job = f"{task}.{family}detection"
        detections.append(add(at, job, "detect_stego", features=features, validation=study.validation, seed="$seed"))
    threat = {"norm": study.norm, "eps": 0.0}
    detector = add(
        ("detector", "training"),
        f"{task}.detector",
        "train",
        dataset=made,
        **plain(study.detector.training) | {"threat": threat, "holdout": study.validation},
        matrix={"seed": study.detector.seeds},
    )
    reference = add(
        ("detector",),
        f"{task}.reference",
        "detect_stego",
        model=detector,
        dataset=made,
        validation=study.validation,
    )
    return {"label": label(embedding), "embedding": [made], "detections": detections, "reference": [reference]}
