"""results.parquet: a row for each tuned head of a `which_eps` study."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from .collect import Family

SCHEMA = pa.schema(
    [
        ("job_key", pa.string()),  # of the transfer's job
        ("target", pa.string()),
        ("model", pa.string()),
        ("eps", pa.float64()),
        ("random_init", pa.bool_()),
        ("seed", pa.int64()),
        ("images_per_class", pa.int64()),  # null: all training images
        ("n", pa.int64()),  # training images, those it was tuned on included
        ("lr", pa.float64()),
        ("weight_decay", pa.float64()),
        ("validation", pa.float64()),
        ("accuracy", pa.float64()),  # test
    ]
)


def write_results(target: str, family: Family, path: Path) -> None:
    """A row per amount, level and seed, random networks after the family."""
    parquet.write_table(pa.Table.from_pylist(list(_rows(target, family)), schema=SCHEMA), path)


def _rows(target: str, family: Family) -> Iterator[dict[str, Any]]:
    for amount in family.amounts:
        for head in (*(head for row in amount.heads for head in row), *amount.random):
            yield {
                "job_key": head.key,
                "target": target,
                "model": head.model.name,
                "eps": head.eps,
                "random_init": head.random,
                "seed": head.seed,
                "images_per_class": amount.images_per_class,
                "n": head.n,
                "lr": head.tuned.lr,
                "weight_decay": head.tuned.weight_decay,
                "validation": head.validation,
                "accuracy": float(head.correct.mean()),
            }
