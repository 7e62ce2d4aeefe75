"""What happens at once: each interleaving of transactions that could lose, double or strand a job."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, insert, select, update

from robxfer_core.ledger import engine, events, experiments, queue
from robxfer_core.ledger.engine import (
    CLAIMS_LOCK,
    DATABASE_UNAVAILABLE,
    EVENTS_LOCK,
    Conflict,
    advisory_lock,
    connect,
    read,
    write,
)
from robxfer_core.ledger.experiments import IdempotencyKey
from robxfer_core.ledger.tables import attempts, jobs, projects
from robxfer_core.ledger.tables import events as events_table
from robxfer_core.spec.wire.queries import ExperimentQuery

from .servers import PATIENCE_S

pytestmark = pytest.mark.servers

ROUNDS = 12


def test_two_parents_that_are_published_at_once_do_not_strand_their_child(ledger, together):
    for round in range(ROUNDS):
        a, b, child = f"a{round}", f"b{round}", f"c{round}"
        experiment = ledger.submit({a: (), b: (), child: (a, b)})
        first, second = ledger.claim(), ledger.claim()
        assert together(lambda one=first: ledger.publish(one), lambda one=second: ledger.publish(one)) == [True, True]
        assert ledger.states(experiment)[child] == "ready"
        assert ledger.drain() == [child]


def test_the_last_two_jobs_that_end_at_once_end_their_experiment(ledger, together):
    for round in range(ROUNDS):
        experiment = ledger.submit({f"a{round}": (), f"b{round}": ()}, retries=0)
        first, second = ledger.claim(), ledger.claim()
        fails = round % 2 == 1
        together(
            lambda one=first: ledger.publish(one),
            lambda one=second, fails=fails: ledger.finish(one, "failed") if fails else ledger.publish(one),
        )
        assert ledger.state(experiment) == ("failed" if fails else "done")


def test_a_job_is_stopped_while_another_experiment_comes_to_want_it(ledger, together):
    for round in range(ROUNDS):
        name = f"a{round}"
        first = ledger.submit({name: ()})
        ours = ledger.claim()
        experiments.cancel(ledger.engine, "default", first)
        moves = [lambda one=ours: ledger.finish(one, "stopped"), lambda name=name: ledger.submit({name: ()})]
        second = together(*moves)[1]
        assert ledger.states(second) == {name: "ready"}
        assert ledger.state(second) == "running"
        assert ledger.drain() == [name]


def test_cancel_of_one_against_a_submission_of_the_same(ledger, together):
    for round in range(ROUNDS):
        a, b = f"a{round}", f"b{round}"
        first = ledger.submit({a: (), b: (a,)})
        second = together(
            lambda one=first: experiments.cancel(ledger.engine, "default", one),
            lambda a=a, b=b: ledger.submit({a: (), b: (a,)}),
        )[1]
        assert ledger.drain() == [a, b]
        assert ledger.state(second) == "done"


def test_a_submission_against_the_publication_of_what_it_takes(ledger, together):
    for round in range(ROUNDS):
        a, b = f"a{round}", f"b{round}"
        ledger.submit({a: ()})
        ours = ledger.claim()
        second = together(lambda one=ours: ledger.publish(one), lambda a=a, b=b: ledger.submit({a: (), b: (a,)}))[1]
        assert ledger.drain() == [b]
        assert ledger.state(second) == "done"


def test_claims_never_exceed_the_quota_nor_take_a_job_twice(ledger, together):
    quota, count = 3, 40
    ledger.submit({f"j{i}": () for i in range(count)})
    with write(ledger.engine) as connection:
        connection.execute(update(projects).values(quota=quota))
    running, most, taken, lock = 0, 0, [], threading.Lock()

    def work(worker):
        nonlocal running, most
        while len(taken) < count:
            claim = queue.claim(ledger.engine, worker, ["cpu"], 600, "cpu")
            if claim is None:
                continue
            with lock:
                running, most = running + 1, max(most, running + 1)
                taken.append(claim.job_id)
            assert ledger.fence(claim).renew(600, {"done": 1}).held
            with lock:
                running -= 1  # before it is published: from here on another may be claimed
            assert ledger.publish(claim)

    together(*[lambda worker=f"w{i}": work(worker) for i in range(8)])
    assert len(set(taken)) == len(taken) == count
    assert most <= quota


def test_each_project_reaches_its_own_quota_by_claims_at_one_moment(ledger, together):
    """Of several queues at once: a quota is the project's, and what one holds back is another's to take."""
    quotas = {"default": 3, "small": 1, "free": None}
    with write(ledger.engine) as connection:
        connection.execute(insert(projects), [{"id": name, "name": name} for name in quotas if name != "default"])
        for name, quota in quotas.items():
            connection.execute(update(projects).where(projects.c.id == name).values(quota=quota))
    for name in quotas:
        for queue_name in ("cpu", "gpu"):
            graph = {f"{queue_name}{i}": () for i in range(6)}
            experiments.submit(ledger.engine, name, {"name": "x"}, ledger.plan(graph, queue=queue_name))

    def running():
        with read(ledger.engine) as connection:
            busy = select(jobs.c.project_id, func.count()).where(jobs.c.state == "running").group_by(jobs.c.project_id)
            return dict(connection.execute(busy).all())

    def claim(worker, queue_name):
        return queue.claim(ledger.engine, worker, [queue_name], 600, "cpu")

    for _ in range(4):
        moves = [lambda w=f"w{i}": claim(w, "cpu" if int(w[1:]) % 2 else "gpu") for i in range(20)]
        claims = [each for each in together(*moves) if each is not None]
        assert len({each.job_id for each in claims}) == len(claims)
        assert running() == {"default": 3, "small": 1, "free": 12}
        assert all(together(*[lambda one=one: ledger.finish(one, "preempted") for one in claims]))


def test_an_expired_lease_is_swept_while_its_worker_publishes(ledger, together):
    for round in range(ROUNDS):
        experiment = ledger.submit({f"a{round}": ()})
        ours = ledger.claim(lease_s=-1)
        published, *_ = together(
            lambda one=ours: ledger.publish(one),
            lambda: queue.sweep(ledger.engine),
            lambda: queue.sweep(ledger.engine),
        )
        if not published:
            assert ledger.drain() == [f"a{round}"]
        assert ledger.states(experiment) == {f"a{round}": "done"}
        assert ledger.state(experiment) == "done"
        with read(ledger.engine) as connection:
            mine = select(attempts.c.outcome).where(attempts.c.job_id == ours.job_id).order_by(attempts.c.number)
            assert connection.scalars(mine).all() == (["succeeded"] if published else ["lost", "succeeded"])


def test_a_reader_sees_every_event_whose_id_it_has_passed(ledger, together):
    writers, lines = 4, 25
    ledger.submit({f"j{i}": () for i in range(writers)})
    claims = [ledger.claim() for _ in range(writers)]
    busy = threading.Semaphore(0)
    seen: list[int] = []

    def log(claim):
        for line in range(lines):
            ledger.fence(claim).record(log_lines=[f"{line}a", f"{line}b"])
        busy.release()

    def follow():
        ended = 0
        while True:
            found = events.after(ledger.engine, seen[-1] if seen else 0, 50)
            seen.extend(each.id for each in found)
            if not found and ended == writers:
                return
            while busy.acquire(blocking=False):
                ended += 1

    together(*[lambda one=one: log(one) for one in claims], follow)
    with read(ledger.engine) as connection:
        everything = connection.scalars(select(events_table.c.id).order_by(events_table.c.id)).all()
    assert seen == list(everything)
    assert len(seen) == 1 + writers + 2 * writers * lines


def test_one_idempotency_key_sent_twice_at_once_makes_one_experiment(ledger, together):
    def send(round, body):
        plan = ledger.plan({f"a{round}": ()})
        try:
            return experiments.submit(
                ledger.engine, "default", {"name": "x"}, plan, IdempotencyKey(f"key{round}", body)
            )
        except Conflict:
            return None

    for round in range(ROUNDS):
        same = together(*[lambda round=round: send(round, "body") for _ in range(3)])
        assert sorted(each.created for each in same) == [False, False, True]
        assert len({each.experiment_id for each in same}) == 1
        other = together(*[lambda round=round, body=body: send(-1 - round, body) for body in ("one", "two")])
        assert sum(each is None for each in other) == 1
    assert len(experiments.page(ledger.engine, "default", ExperimentQuery(limit=100)).items) == 2 * ROUNDS


def test_overlapping_plans_at_once_make_one_job_a_key(ledger, together):
    for round in range(ROUNDS):
        names = [f"r{round}n{i}" for i in range(12)]
        graphs = [
            dict.fromkeys(names, ()) | {f"{names[0]}x": names},
            dict.fromkeys(names[::-1], ()) | {f"{names[0]}x": names, f"{names[0]}y": names[:3]},
            dict.fromkeys(names[3:], ()),
        ]
        made = together(*[lambda graph=graph: ledger.submit(graph) for graph in graphs])
        ids = {}
        for experiment in made:
            for each in experiments.list_nodes(ledger.engine, experiment):
                assert ids.setdefault(each.name, each.job_id) == each.job_id
        assert len(ids) == 14
    with read(ledger.engine) as connection:
        keys = connection.scalars(select(jobs.c.key)).all()
    assert len(keys) == len(set(keys)) == 14 * ROUNDS


def test_everything_at_once_ends(ledger, together):
    """Random plans over few names, workers that fail, lose and publish, cancels and retries: no deadlock, no loss."""
    names = [f"n{i}" for i in range(10)]
    made: list[str] = []

    def user(seed):
        dice = random.Random(seed)
        for _ in range(6):
            chosen = sorted(dice.sample(range(10), 5))
            # What a job takes is set by its name, as a key would have it.
            graph = {names[i]: tuple(names[j] for j in chosen if j < i and (i + j) % 3 == 0) for i in chosen}
            graph = {f"{name}.{'.'.join(inputs)}": inputs for name, inputs in graph.items()}
            known = {name.partition(".")[0]: name for name in graph}
            graph = {name: tuple(known[each] for each in inputs) for name, inputs in graph.items()}
            made.append(ledger.submit(graph, retries=1))
            if dice.random() < 0.5:
                experiments.cancel(ledger.engine, "default", dice.choice(made))
            if dice.random() < 0.3:
                experiments.retry(ledger.engine, "default", dice.choice(made))

    def worker(seed):
        dice = random.Random(seed)
        for _ in range(25):
            claim = queue.claim(ledger.engine, f"w{seed}", ["cpu"], -1 if dice.random() < 0.2 else 600, "cpu")
            if claim is None:
                queue.sweep(ledger.engine)
            elif dice.random() < 0.7:
                ledger.publish(claim)
            else:
                ledger.finish(claim, dice.choice(["failed", "stopped", "preempted", "out_of_memory"]))

    together(*[lambda i=i: user(i) for i in range(3)], *[lambda i=i: worker(100 + i) for i in range(3)])
    with write(ledger.engine) as connection:
        connection.execute(update(jobs).values(lease_until=0.0))
    queue.sweep(ledger.engine)
    with write(ledger.engine) as connection:
        connection.execute(update(jobs).values(not_before=0.0))
    while any(ledger.state(each) not in ("done", "cancelled") for each in made):
        for each in made:
            if ledger.state(each) == "failed":
                experiments.retry(ledger.engine, "default", each)
        ledger.drain()
    for each in made:
        states = set(ledger.states(each).values())
        assert states == {"done"} if ledger.state(each) == "done" else "running" not in states


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_one_who_stands_still_within_a_transaction_holds_up_nobody_for_long(ledger, database_url, monkeypatch):
    monkeypatch.setattr(engine, "IDLE_IN_TRANSACTION_S", 1.0)
    frozen = connect(database_url)

    def stand_still():
        with write(frozen) as held, ThreadPoolExecutor(1) as others:
            advisory_lock(held, CLAIMS_LOCK)
            advisory_lock(held, EVENTS_LOCK)
            try:
                others.submit(ledger.submit, {"a": ()}).result(PATIENCE_S)
                others.submit(ledger.claim).result(PATIENCE_S)
            except TimeoutError:
                held.rollback()
                raise
            held.execute(select(1))  # it wakes up

    with pytest.raises(DATABASE_UNAVAILABLE, match="idle-in-transaction timeout"):
        stand_still()
    with read(frozen) as connection:
        assert connection.scalar(select(1)) == 1
    frozen.dispose()
