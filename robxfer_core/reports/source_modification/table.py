"""results.parquet: every accuracy of a source-modification study, a row each."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from .collect import Study

SCHEMA = pa.schema(
    [
        ("source_key", pa.string()),  # key of the source's evaluation; null for random networks, which have none
        ("job_key", pa.string()),  # key of the transfer's job
        ("target", pa.string()),
        ("arm", pa.string()),
        ("seed", pa.int64()),
        ("source_accuracy", pa.float64()),  # on the source set's test split
        ("source_robust_accuracy", pa.float64()),
        ("n", pa.int64()),
        ("standardised", pa.bool_()),
        ("epoch", pa.int32()),  # from 1
        ("accuracy", pa.float64()),
        ("robust_accuracy", pa.float64()),  # after transfer; null: it was not measured
    ]
)


def results_table(study: Study, target: str) -> pa.Table:
    """A row per source network, n, standardisation and epoch, in the order of the arms."""
    return pa.Table.from_pylist(list(_rows(study, target)), schema=SCHEMA)


def _rows(study: Study, target: str) -> Iterator[dict[str, Any]]:
    for arm in study.arms:
        sources = {source.seed: source for source in arm.sources}
        for head in sorted(arm.heads, key=lambda h: (h.seed, h.n, h.standardised)):
            source = sources.get(head.seed)
            for epoch, accuracy in enumerate(head.test.tolist(), 1):
                yield {
                    "source_key": source.key if source else None,
                    "job_key": head.key,
                    "target": target,
                    "arm": arm.name,
                    "seed": head.seed,
                    "source_accuracy": float(source.clean.mean()) if source else None,
                    "source_robust_accuracy": float(source.robust.mean()) if source else None,
                    "n": head.n,
                    "standardised": head.standardised,
                    "epoch": epoch,
                    "accuracy": accuracy,
                    "robust_accuracy": None,
                }
