"""The study `which_eps` as jobs."""

from robxfer_core.studies.family import add_family, add_random_init
from robxfer_core.studies.graph import Graph, dataset_params, plain

from .spec import WhichEps


def expand(graph: Graph, study: WhichEps) -> None:
    """Add the study's jobs."""
    add = graph.add
    target = study.target
    if target.dataset is not None:
        data = add(("target", "dataset"), "target", "dataset", **dataset_params(target.dataset))
    else:
        assert target.import_dataset is not None  # one of the two is there
        given = target.import_dataset.model_dump(mode="json", exclude={"kind"}, exclude_none=True)
        data = add(("target", "import_dataset"), "target", "import_dataset", **given)
    source_data, families = _family(graph, study, data)
    heads = plain(study.heads)
    transfers: dict[int | None, list[str]] = {images: [] for images in (None, *sorted(study.few_shot))}
    for place, suffix, model, seeded in families:
        features = add(place, f"features{suffix}", "features", model=model, dataset=data)
        seed = {"seed": "$seed"} if seeded else {"matrix": {"seed": study.seeds}}
        for images, jobs in transfers.items():
            name = f"transfer{suffix}" if images is None else f"transfer{suffix}-{images}-a-class"
            more = seed if images is None else {**seed, "images_per_class": images, "sizes": []}
            at = ("heads",) if images is None else ("few_shot", study.few_shot.index(images))
            jobs.append(add(at, name, "transfer", features=features, **heads | more))
    training = plain(study.source.training) if study.source and study.source.training else None
    add(
        (),
        "report",
        "which_eps_report",
        title=study.title,
        target=target.label,
        amounts=[{"images_per_class": images, "transfers": jobs} for images, jobs in transfers.items()],
        usual=study.usual,
        confidence=study.confidence,
        training=training,
        heads=heads,
        source_data=source_data,
    )


Family = tuple[tuple[str | int, ...], str, str, bool]
"""Place in the study, what its jobs' names end in, the job of its models, and whether those have an axis `seed`."""


def _family(graph: Graph, study: WhichEps, data: str) -> tuple[list[str], list[Family]]:
    """The jobs that make the family, and what it was trained on. data: the job of the target's images."""
    if study.source is None:
        made: list[Family] = []
        for index, model in enumerate(study.models):
            given = model.model_dump(mode="json", exclude={"kind"}, exclude_none=True)
            job = graph.add(("models", index), f"model-{index}", "import_model", **given)
            made.append((("models", index), f"-{index}", job, False))
        return [], made
    source, published = study.source, study.source.published is not None
    model, source_data = add_family(
        graph, ("source",), source, study.norm, study.levels, [] if published else study.seeds
    )
    place = ("source", "published" if published else "training")
    own = [] if source_data is None else [source_data]
    start = add_random_init(graph, place, source, study.norm, study.seeds, source_data or data, "random-init")
    return own, [(place, "", model, not published), (place, "-random-init", start, True)]
