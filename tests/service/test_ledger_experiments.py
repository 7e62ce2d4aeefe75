"""Experiments: one job a key, whoever asks for it; cancel, retry, idempotency keys, pages."""

import pytest
from sqlalchemy import update

from robxfer_core.ledger import artifacts, events, experiments, jobs, queue
from robxfer_core.ledger.attempts import LeaseStatus
from robxfer_core.ledger.engine import Conflict, NotFound, write
from robxfer_core.ledger.experiments import IdempotencyKey
from robxfer_core.ledger.paging import BadCursor
from robxfer_core.ledger.tables import idempotency
from robxfer_core.spec.states import AttemptOutcome
from robxfer_core.spec.wire.queries import ExperimentQuery

pytestmark = pytest.mark.servers

CHAIN = {"a": (), "b": ("a",), "c": ("a", "b")}


def test_what_was_computed_once_is_not_computed_again(ledger):
    ledger.submit(CHAIN)
    assert ledger.drain() == ["a", "b", "c"]
    again = ledger.submit(CHAIN)
    assert ledger.state(again) == "done"
    assert ledger.history(again) == [("experiment", "running"), ("experiment", "done")]
    more = ledger.submit({**CHAIN, "d": ("c",)})
    assert ledger.states(more) == {"a": "done", "b": "done", "c": "done", "d": "ready"}
    assert ledger.drain() == ["d"]
    assert ledger.attempts() == 4


def test_nodes_of_one_key_are_one_job(ledger):
    experiment = ledger.submit({"a": (), "a~twin": (), "b": ("a",)})
    assert experiments.get(ledger.engine, "default", experiment).jobs == {"ready": 1, "waiting": 1}
    assert ledger.drain() == ["a", "b"]
    assert ledger.states(experiment) == {"a": "done", "a~twin": "done", "b": "done"}


def test_a_running_job_is_joined(ledger):
    first = ledger.submit(CHAIN)
    ours = ledger.claim()
    second = ledger.submit({"a": (), "z": ("a",)})
    assert ledger.states(second) == {"a": "running", "z": "waiting"}
    experiments.cancel(ledger.engine, "default", first)
    assert ledger.fence(ours).renew(30).wanted
    ledger.publish(ours)
    assert ledger.drain() == ["z"]
    assert ledger.state(second) == "done"
    assert ledger.states(first) == {"a": "done", "b": "cancelled", "c": "cancelled"}


def test_failed_jobs_are_armed_again_by_a_submission_but_not_the_experiment_that_failed(ledger):
    first = ledger.submit(CHAIN, retries=0)
    ledger.finish(ledger.claim(), "failed")
    assert ledger.state(first) == "failed"
    second = ledger.submit({"a": ()}, retries=0)
    ledger.finish(ledger.claim(), "failed")
    assert ledger.state(second) == "failed"
    ledger.submit({"a": ()}, retries=0)
    assert ledger.drain() == ["a"]
    assert ledger.states(first) == {"a": "done", "b": "ready", "c": "waiting"}
    assert queue.sweep(ledger.engine) == []  # nobody wants b
    unwanted = jobs.get(ledger.engine, "default", ledger.job_id("b"))
    assert "unwanted" in [each.reason for each in unwanted.waiting_for]
    assert ledger.state(first) == "failed"
    experiments.retry(ledger.engine, "default", first)
    assert ledger.drain() == ["b", "c"]
    assert ledger.state(first) == "done"


def test_retry_gives_a_fresh_budget(ledger):
    experiment = ledger.submit(CHAIN, retries=1)
    for _ in range(2):
        ledger.finish(ledger.claim(), "failed")
        ledger.set_job("a", not_before=0.0)
    assert ledger.state(experiment) == "failed"
    assert experiments.retry(ledger.engine, "default", experiment).queues_ready == ["cpu"]
    assert experiments.retry(ledger.engine, "default", experiment).queues_ready == []
    ledger.finish(ledger.claim(), "failed")
    assert ledger.states(experiment)["a"] == "ready"
    ledger.set_job("a", not_before=0.0)
    assert ledger.drain() == ["a", "b", "c"]
    experiments.retry(ledger.engine, "default", experiment)
    assert ledger.state(experiment) == "done"


def test_retry_of_a_live_experiment_arms_what_failed_in_it(ledger):
    experiment = ledger.submit({"a": (), "b": ("a",), "x": ()}, retries=0)
    ledger.finish(ledger.claim(), "failed")
    experiments.retry(ledger.engine, "default", experiment)
    assert ledger.states(experiment) == {"a": "ready", "b": "waiting", "x": "ready"}


def test_retry_is_done_at_once_where_others_have_computed_everything(ledger):
    first = ledger.submit({"a": ()}, retries=0)
    ledger.finish(ledger.claim(), "failed")
    ledger.submit({"a": ()})
    ledger.drain()
    experiments.retry(ledger.engine, "default", first)
    assert ledger.state(first) == "done"


def test_cancel_keeps_what_others_want(ledger):
    first, second = ledger.submit(CHAIN), ledger.submit({"a": (), "b": ("a",)})
    assert experiments.cancel(ledger.engine, "default", first) == "cancelled"
    assert experiments.cancel(ledger.engine, "default", first) == "cancelled"
    assert ledger.states(first) == {"a": "ready", "b": "waiting", "c": "cancelled"}
    assert ledger.drain() == ["a", "b"]
    assert experiments.cancel(ledger.engine, "default", second) == "done"
    assert ledger.history(first)[-1] == ("b", "done")


def test_a_cancelled_job_that_runs_is_stopped(ledger):
    experiment = ledger.submit({"a": ()})
    ours = ledger.claim()
    experiments.cancel(ledger.engine, "default", experiment)
    assert ledger.states(experiment) == {"a": "running"}
    assert ledger.fence(ours).renew(30) == LeaseStatus(held=True, wanted=False)
    ledger.finish(ours, "stopped")
    assert ledger.states(experiment) == {"a": "cancelled"}
    again = ledger.submit({"a": ()})
    assert ledger.drain() == ["a"]
    assert ledger.state(again) == "done"
    assert ledger.state(experiment) == "cancelled"


def test_a_stopped_job_that_is_wanted_again_by_then_is_ready(ledger):
    experiment = ledger.submit({"a": ()})
    ours = ledger.claim()
    experiments.cancel(ledger.engine, "default", experiment)
    experiments.retry(ledger.engine, "default", experiment)
    ledger.finish(ours, "stopped")
    assert ledger.states(experiment) == {"a": "ready"}
    assert ledger.state(experiment) == "running"


def test_the_largest_wanted_counts(ledger):
    low = ledger.submit({"a": ()}, priority=1, deadline_s=100, retries=9)
    high = ledger.submit({"a": ()}, priority=7, deadline_s=50, retries=1)

    def found():
        job = jobs.get(ledger.engine, "default", ledger.job_id("a"))
        return job.priority, job.deadline_s, job.retries[AttemptOutcome.FAILED]

    assert found() == (7, 100, 9)
    experiments.cancel(ledger.engine, "default", high)
    assert found() == (1, 100, 9)
    experiments.cancel(ledger.engine, "default", low)
    ledger.submit({"a": ()}, priority=-3, deadline_s=5, retries=0, queue="other")
    assert found() == (-3, 5, 0)
    assert ledger.claim(queue_name="other").params["name"] == "a"


def test_an_idempotency_key_submits_once_a_day(ledger):
    engine = ledger.engine
    first = experiments.submit(engine, "default", {"name": "x"}, ledger.plan(CHAIN), IdempotencyKey("key", "body"))
    again = experiments.submit(engine, "default", {"name": "x"}, ledger.plan(CHAIN), IdempotencyKey("key", "body"))
    assert (first.created, first.queues_ready) == (True, ["cpu"])
    assert (again.created, again.experiment_id) == (False, first.experiment_id)
    with pytest.raises(Conflict, match="key"):
        experiments.submit(engine, "default", {"name": "y"}, ledger.plan(CHAIN), IdempotencyKey("key", "other"))
    assert len(experiments.page(engine, "default").items) == 1
    with write(engine) as connection:
        connection.execute(update(idempotency).values(at=idempotency.c.at - 24 * 3600 - 1))
    assert experiments.submit(
        engine, "default", {"name": "y"}, ledger.plan(CHAIN), IdempotencyKey("key", "other")
    ).created


def test_other_projects_see_nothing(ledger):
    experiment = ledger.submit(CHAIN)
    ledger.drain()
    job_id = ledger.job_id("a")
    artifact_id = jobs.get(ledger.engine, "default", job_id).artifact_id
    assert artifact_id is not None
    for look in (
        lambda: experiments.get(ledger.engine, "other", experiment),
        lambda: experiments.get_state(ledger.engine, "other", experiment),
        lambda: experiments.cancel(ledger.engine, "other", experiment),
        lambda: experiments.retry(ledger.engine, "other", experiment),
        lambda: jobs.get(ledger.engine, "other", job_id),
        lambda: artifacts.get(ledger.engine, "other", artifact_id),
    ):
        with pytest.raises(NotFound):
            look()
    assert experiments.page(ledger.engine, "other").items == []
    assert experiments.job_ids(ledger.engine, "other", experiment) == set()
    assert jobs.states_of_keys(ledger.engine, "other", [jobs.get(ledger.engine, "default", job_id).key]) == {}


def test_pages_hold_each_experiment_once_newest_first(ledger):
    engine = ledger.engine
    made = []
    for number in range(5):
        spec = {"name": f"n{number % 2}", "labels": {"of": "odd" if number % 2 else "even", "all": ""}}
        made.append(experiments.submit(engine, "default", spec, ledger.plan({f"j{number}": ()})).experiment_id)
    seen, cursor = [], None
    while True:
        page = experiments.page(engine, "default", ExperimentQuery(limit=2, cursor=cursor))
        seen += [each.id for each in page.items]
        ledger.submit({"newer": ()})  # does not shift what comes
        if (cursor := page.next) is None:
            break
    assert seen == made[::-1]
    experiments.cancel(engine, "default", made[2])

    def ids(**filters):
        return [each.id for each in experiments.page(engine, "default", ExperimentQuery(**filters)).items]

    assert ids(name="n1") == [made[3], made[1]]
    assert ids(state="cancelled") == [made[2]]
    assert ids(label="of=even") == [made[4], made[2], made[0]]
    assert ids(label="all") == made[::-1]
    assert ids(label="all=1") == []
    assert ids(label="of=even", state="running", limit=1) == [made[4]]
    found = experiments.page(engine, "default", ExperimentQuery(name="n1")).items[0]
    assert (found.labels, found.jobs) == ({"all": "", "of": "odd"}, {"ready": 1})
    for wrong in ("", "nonsense", "ä", seen[0]):
        with pytest.raises(BadCursor):
            experiments.page(engine, "default", ExperimentQuery(cursor=wrong))


def test_artifacts_by_pages(ledger):
    ledger.submit(CHAIN)
    ledger.drain()
    first = artifacts.page(ledger.engine, "default", "model", limit=2)
    rest = artifacts.page(ledger.engine, "default", "model", limit=2, cursor=first.next)
    assert (len(first.items), len(rest.items), rest.next) == (2, 1, None)
    assert artifacts.page(ledger.engine, "default", "dataset").items == []
    found = artifacts.get(ledger.engine, "default", rest.items[0].id)
    assert (found.job_id, found.kind, found.bytes) == (ledger.job_id("a"), "train", 2)
    assert found.prefix == f"default/{found.job_id}/1"


def test_events_of_an_experiment_begin_with_it(ledger):
    ledger.submit({"a": ()})
    ledger.drain()
    second = ledger.submit({"a": (), "b": ("a",)})
    ledger.drain()
    assert ledger.history(second) == [
        ("experiment", "running"),
        ("b", "running"),
        ("b", "done"),
        ("experiment", "done"),
    ]
    whole = events.for_experiment(ledger.engine, second)
    assert events.for_experiment(ledger.engine, second, whole[1].id, limit=1) == [whole[2]]
    assert events.last(ledger.engine) == whole[-1].id


def test_a_node_is_taken_by_another_of_its_experiment_alone(ledger):
    one, other = ledger.submit({"a": (), "b": ("a",)}), ledger.submit({"a": ()})
    taken = [{each.name: each.taken for each in experiments.list_nodes(ledger.engine, id)} for id in (one, other)]
    assert taken == [{"a": True, "b": False}, {"a": False}]


def test_a_large_plan_takes_few_statements(ledger):
    graph = {f"a{i}": () for i in range(100)}
    graph |= {f"b{i}": (f"a{i % 100}", "a0") for i in range(199)}
    graph |= {"end": tuple(f"b{i}" for i in range(199))}
    with ledger.statements() as sent:
        ledger.submit(graph)
    assert len(sent) <= 20, sent
    with ledger.statements() as sent:
        ours = ledger.claim()
    assert len(sent) <= 7, sent
    with ledger.statements() as sent:
        ledger.publish(ours)
    assert len(sent) <= 14, sent
