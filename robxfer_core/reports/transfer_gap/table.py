"""results.parquet: every accuracy of a study, a row each."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from .collect import Study

SCHEMA = pa.schema(
    [
        ("source_key", pa.string()),  # key of the source's evaluation; null for random networks, which have none
        ("job_key", pa.string()),  # key of the transfer's job
        ("target", pa.string()),
        ("variant", pa.string()),
        ("eps", pa.float64()),
        ("random_init", pa.bool_()),
        ("seed", pa.int64()),
        ("n", pa.int64()),
        ("standardised", pa.bool_()),
        ("epoch", pa.int32()),  # from 1
        ("accuracy", pa.float64()),
        ("robust_accuracy", pa.float64()),  # after transfer, last epoch; null where it was not measured
        ("robust_eps", pa.float64()),  # of that attack: the smallest eps above 0 that was asked for
        ("mean_per_class", pa.float64()),  # mean over classes of the accuracy, last epoch
    ]
)


def results_table(study: Study) -> pa.Table:
    """A row per source network, target, variant, n, standardisation and epoch, in the order of the arms."""
    return pa.Table.from_pylist(list(_rows(study)), schema=SCHEMA)


def _rows(study: Study) -> Iterator[dict[str, Any]]:
    sources = {(source.eps, source.seed): source.key for source in study.family.sources}
    for panel in study.panels:
        for head in sorted(panel.heads, key=lambda h: (h.random, h.eps, h.seed, h.n, h.standardised)):
            robust = min(((eps, accuracy) for eps, accuracy in head.robust.items() if eps > 0), default=(None, None))
            for epoch, accuracy in enumerate(head.test.tolist(), 1):
                last = epoch == head.test.size
                yield {
                    "source_key": None if head.random else sources.get((head.eps, head.seed)),
                    "job_key": head.key,
                    "target": panel.target,
                    "variant": panel.variant,
                    "eps": head.eps,
                    "random_init": head.random,
                    "seed": head.seed,
                    "n": head.n,
                    "standardised": head.standardised,
                    "epoch": epoch,
                    "accuracy": accuracy,
                    "robust_accuracy": robust[1] if last else None,
                    "robust_eps": robust[0] if last else None,
                    "mean_per_class": head.mean_per_class if last else None,
                }
