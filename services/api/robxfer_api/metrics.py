"""Metrics of queues, attempts and workers for Prometheus, computed from the ledger at each scrape."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from robxfer_core.ledger import counts, workers
from robxfer_core.ledger.counts import AttemptCounter, AttemptTotals, Histogram, TotalsKey
from robxfer_core.spec.states import AttemptOutcome, JobState

UNSERVED_QUEUES = 100
"""How many queues without a worker keep their own label; jobs in further queues are counted under OTHER."""
OTHER = "other"
_STATES = (JobState.WAITING, JobState.READY, JobState.RUNNING)


def exposition(engine: Engine, tally: AttemptCounter) -> bytes:
    """Renders all metrics in the Prometheus text format 0.0.4.

    Args:
        engine: The ledger's engine.
        tally: Counts of ended attempts. It remembers what it has read, so keep one for the life of the process.

    Returns:
        The body of the answer, UTF-8.
    """
    return generate_latest(LedgerCollector(engine, tally))


class LedgerCollector(Collector):
    """A Prometheus collector that queries the ledger.

    A scrape takes a bounded time however long the history is: jobs are counted only while they have not ended, and
    ended attempts come from the tally.
    """

    def __init__(self, engine: Engine, tally: AttemptCounter) -> None:
        self._engine = engine
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        """Yields every metric family once."""
        live_workers = workers.list_live(self._engine)
        yield from _queue_metrics(self._engine, live_workers)
        yield _gauge("robxfer_workers", "Live workers.", {(): len(live_workers)})
        yield from _attempt_metrics(self._tally.read(self._engine))


def _queue_metrics(engine: Engine, live_workers: Sequence[workers.Worker]) -> Iterator[Metric]:
    slots: Counter[str] = Counter()
    for worker in live_workers:
        slots.update(dict.fromkeys(worker.queues, worker.slots))
    depth, oldest = _merge_unserved(counts.queue_depth(engine), counts.oldest_ready(engine), slots.keys())
    slots.update(dict.fromkeys((queue for queue, _ in depth), 0))  # a queue without a worker is reported with 0 slots
    yield _gauge(
        "robxfer_queue_depth",
        "Jobs that run, are ready or wait, and that a running experiment needs.",
        {(queue, state): depth.get((queue, state), 0) for queue in slots for state in _STATES},
        ("queue", "state"),
    )
    yield _gauge(
        "robxfer_queue_oldest_seconds",
        "Seconds for which the oldest ready job of a queue has been ready.",
        {(queue,): oldest.get(queue, 0.0) for queue in slots},
        ("queue",),
    )
    yield _gauge("robxfer_slots", "Slots of live workers.", {(queue,): n for queue, n in slots.items()}, ("queue",))


def _attempt_metrics(ended: Mapping[TotalsKey, AttemptTotals]) -> Iterator[Metric]:
    attempts = CounterMetricFamily("robxfer_attempts", "Attempts that have ended.", labels=("kind", "outcome"))
    seconds = CounterMetricFamily(
        "robxfer_attempt_seconds", "Seconds that ended attempts took.", labels=("kind", "outcome")
    )
    for labels, total in _group(ended, "kind", "outcome"):
        attempts.add_metric(labels, total.count)
        seconds.add_metric(labels, total.seconds)
    lost = sum(total.count for (_, _, outcome), total in ended.items() if outcome == AttemptOutcome.LOST)
    waits = HistogramMetricFamily(
        "robxfer_wait_seconds", "Seconds from ready to the start of an attempt.", labels=("queue",)
    )
    for labels, total in _group(ended, "queue"):
        waits.add_metric(labels, _buckets(total.waited, counts.WAIT_BOUNDS_S), total.waited.seconds)
    publishing = HistogramMetricFamily(
        "robxfer_publish_seconds", "Seconds from the end of the computation to the artifact.", labels=("kind",)
    )
    for labels, total in _group(ended, "kind"):
        publishing.add_metric(labels, _buckets(total.published, counts.PUBLISH_BOUNDS_S), total.published.seconds)
    yield from (attempts, seconds)
    yield CounterMetricFamily("robxfer_lease_losses", "Attempts whose worker stopped renewing its lease.", lost)
    yield from (waits, publishing)


def _merge_unserved(
    depth: Mapping[tuple[str, JobState], int], oldest: Mapping[str, float], served: Collection[str]
) -> tuple[Mapping[tuple[str, JobState], int], Mapping[str, float]]:
    """Bounds the number of queue labels: whoever submits a job names its queue, so anyone could add labels.

    Args:
        depth: Jobs by (queue, state).
        oldest: Age in seconds of the oldest ready job, by queue.
        served: Queues that a live worker serves; each keeps its label.

    Returns:
        Depth and age, with all but the UNSERVED_QUEUES longest queues that nobody serves merged into OTHER.
    """
    jobs: Counter[str] = Counter()
    for (queue, _), n in depth.items():
        jobs[queue] += n
    longest = [queue for queue, _ in jobs.most_common() if queue not in served][:UNSERVED_QUEUES]
    labels = {queue: queue for queue in (*served, *longest)}
    merged_depth: Counter[tuple[str, JobState]] = Counter()
    for (queue, state), n in depth.items():
        merged_depth[labels.get(queue, OTHER), state] += n
    merged_oldest: dict[str, float] = {}
    for queue, seconds in oldest.items():
        label = labels.get(queue, OTHER)
        merged_oldest[label] = max(seconds, merged_oldest.get(label, 0.0))
    return merged_depth, merged_oldest


def _group(ended: Mapping[TotalsKey, AttemptTotals], *labels: str) -> Iterator[tuple[tuple[str, ...], AttemptTotals]]:
    """Sums ended attempts, given by (kind, queue, outcome), over everything but the labels."""
    positions = [("kind", "queue", "outcome").index(label) for label in labels]
    groups: defaultdict[tuple[str, ...], list[AttemptTotals]] = defaultdict(list)
    for key, total in ended.items():
        groups[tuple(key[position] for position in positions)].append(total)
    for values, (first, *others) in groups.items():
        for other in others:
            first = first + other
        yield values, first


def _buckets(histogram: Histogram, bounds: Iterable[float]) -> list[tuple[str, float]]:
    upper = [*(f"{bound:g}" for bound in bounds), "+Inf"]
    return list(zip(upper, [*histogram.buckets, histogram.count], strict=True))


def _gauge(
    name: str, documentation: str, values: Mapping[tuple[str, ...], float], labels: Sequence[str] = ()
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family
