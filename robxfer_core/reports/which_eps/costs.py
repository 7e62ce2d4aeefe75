"""What a `which_eps` study cost, counted as the plan counts: floating-point operations of its jobs."""

from collections.abc import Iterable
from typing import Any

from robxfer_core.jobs.features import Features
from robxfer_core.jobs.results import DatasetResult
from robxfer_core.jobs.run import Inputs
from robxfer_core.jobs.shapes import Shapes
from robxfer_core.jobs.train import Train
from robxfer_core.jobs.transfer import Transfer
from robxfer_core.jobs.which_eps_report import WhichEpsReport

from .collect import Family, Head

ANY = "0" * 64  # in place of the keys of inputs, which cost nothing


def costs(spec: WhichEpsReport, family: Family, inputs: Inputs) -> list[dict[str, Any]]:
    """Rows {"part", "jobs", "flops"}; flops is None for a family that others trained. Random networks are left out."""
    models = [head for row in family.amounts[0].heads for head in row]
    every = [(amount, head) for amount in family.amounts for row in amount.heads for head in row]
    distinct = {(head.eps, head.model.seed): head for head in models}.values()
    return [
        {"part": "training the family", "jobs": len(distinct), "flops": _training(spec, distinct, inputs)},
        {"part": "representations", "jobs": len(distinct), "flops": sum(map(_features, distinct))},
        {
            "part": "heads",
            "jobs": len(every),
            "flops": sum(_heads(spec, head, amount.images_per_class) for amount, head in every),
        },
    ]


def _training(spec: WhichEpsReport, heads: Iterable[Head], inputs: Inputs) -> float | None:
    source_data = inputs.all("source_data")
    if spec.training is None or not source_data:
        return None
    data = DatasetResult.read(source_data[0].path).data
    channels, side, _ = data.shape
    shapes = {ANY: Shapes(channels=channels, side=side, classes=data.classes, train=data.n_train)}
    total = 0.0
    for head in heads:
        threat = spec.training.threat.model_copy(update={"eps": head.eps})
        given = spec.training.model_dump(mode="json") | {"threat": threat.model_dump(mode="json")}
        total += Train.model_validate({**given, "dataset": ANY}).flops(shapes, Shapes())
    return total


def _features(head: Head) -> float:
    model = head.model
    shapes = {
        "model": Shapes(channels=model.channels, side=model.input_size, classes=model.classes, arch=model.arch),
        "data": Shapes(train=head.data.n_train, test=head.data.n_test),
    }
    return Features.model_validate({"model": "model", "dataset": "data"}).flops(shapes, Shapes())


def _heads(spec: WhichEpsReport, head: Head, images_per_class: int | None) -> float:
    given = spec.heads.model_dump(mode="json") | ({"sizes": []} if images_per_class else {})
    data = head.data
    shapes = Shapes(length=head.model.representation, classes=data.classes, test=data.n_test)
    job = Transfer.model_validate({**given, "features": ANY, "images_per_class": images_per_class})
    return job.flops({ANY: shapes}, Shapes(train=head.n))
