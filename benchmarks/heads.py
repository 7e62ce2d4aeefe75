"""Linear heads trained together, against one after the other."""

from collections.abc import Iterator
from typing import Any

import torch

from robxfer_core.science.transfer.linear_heads import Head, LabelledFeatures, train_heads
from robxfer_core.spec.fields import Schedule

from .timing import median


def run() -> Iterator[dict[str, Any]]:
    """Seconds for 60 epochs of H heads on 670 images of 48 features, 5 classes."""
    generator = torch.Generator().manual_seed(0)
    train = LabelledFeatures(torch.randn(670, 48, generator=generator), torch.arange(670) % 5)
    test = LabelledFeatures(torch.randn(224, 48, generator=generator), torch.arange(224) % 5)

    def learn(count: int) -> None:
        heads = [Head(torch.arange(670), 0.1 / (i + 1), 5e-4, i) for i in range(count)]
        train_heads(train, test, 5, heads, epochs=60, batch_size=64, momentum=0.9, schedule=Schedule(kind="constant"))

    one = median(lambda: learn(1), 3)
    for count in (1, 10, 50):
        seconds = median(lambda count=count: learn(count), 3)
        yield {
            "heads": count,
            "seconds": round(seconds, 3),
            "times_faster_than_one_by_one": round(count * one / seconds, 1),
        }
