"""The study `component_visualization` as jobs."""

from robxfer_core.studies.family import Published, add_published
from robxfer_core.studies.graph import Graph, dataset_params, plain, slug

from .spec import ComponentVisualization


def expand(graph: Graph, study: ComponentVisualization) -> None:
    """Add the study's jobs."""
    add = graph.add
    data = add(("dataset",), "data", "dataset", **dataset_params(study.dataset))
    if isinstance(study.judge, Published):
        model = add_published(graph, ("judge",), study.judge, study.norm, [0.0], study.seeds, prefix="judge-")
        judge = f"{model}[eps=0.0]"
    else:
        judge = add(("judge",), "judge", "train", dataset=data, **plain(study.judge), matrix={"seed": study.seeds})
    arms = []
    for index, each in enumerate(study.architectures):
        name = slug(each.label)
        source, accuracy = _family(graph, study, index, f"{name}.", data)
        pictures = add(
            ("components",),
            f"{name}.components",
            "visualize",
            mode="component",
            model=source,
            dataset=data,
            judge=judge,
            count=study.components,
            steps=study.steps,
            step_size=study.step_size,
            seed="$seed",
        )
        arms.append({"label": each.label, "visualizations": [pictures], "sources": accuracy})
    add((), "report", "component_visualization_report", title=study.title, architectures=arms)


def _family(graph: Graph, study: ComponentVisualization, index: int, prefix: str, data: str) -> tuple[str, list[str]]:
    """The job of an architecture's networks, and of their accuracies where they were trained on this very data set."""
    each, at = study.architectures[index], ("architectures", index)
    if each.published is not None:
        where = (*at, "published")
        return add_published(graph, where, each.published, study.norm, study.levels, study.seeds, prefix=prefix), []
    assert each.training is not None
    source = graph.add(
        (*at, "training"),
        f"{prefix}source",
        "train",
        dataset=data,
        **plain(each.training) | {"threat": {"norm": study.norm}},
        matrix={"threat.eps": study.levels, "seed": study.seeds},
    )
    accuracy = graph.add(
        ("evaluation",),
        f"{prefix}source-accuracy",
        "evaluate",
        model=source,
        dataset=data,
        norm=study.norm,
        eps=sorted(study.levels),
        attack=plain(study.evaluation),
        max_images=study.evaluation_images,
        seed="$seed",
    )
    return source, [accuracy]
