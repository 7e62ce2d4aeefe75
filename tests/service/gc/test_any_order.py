"""Experiments, workers and collections in any order: nothing that is needed goes."""

import random

import pytest
from sqlalchemy import update

from robxfer_core.ledger import experiments, queue
from robxfer_core.ledger.engine import write
from robxfer_core.ledger.tables import jobs

from .place import sound

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("seed", [1, 2])
def test_a_dry_run_says_what_a_run_does_and_nothing_is_lost(place, seed):
    """Experiments, workers and collections in any order."""
    ledger, dice = place.ledger, random.Random(seed)
    made: list[str] = []
    running: list[queue.Claim] = []

    def submit() -> None:
        chosen = sorted(dice.sample(range(6), 3))
        graph = {f"n{i}": tuple(f"n{j}" for j in range(i) if (i + j) % 3 == 0) for i in range(max(chosen) + 1)}
        made.append(ledger.submit(graph, retries=dice.randrange(2), backoff_s=0.0))

    def claim() -> None:
        taken = queue.claim(ledger.engine, "w", ["cpu"], dice.choice([600.0, -1.0]), "cpu")
        if taken is not None:
            place.put(f"{taken.prefix}/half")
            running.append(taken)

    def leave() -> None:
        if running:
            one = running.pop(dice.randrange(len(running)))
            if dice.random() < 0.5:
                place.checkpoint(one, dice.randrange(3))
            if dice.random() < 0.5:
                place.publish(one)
            else:
                ledger.finish(one, dice.choice(["failed", "preempted", "stopped"]))

    def interfere() -> None:
        act = dice.choice([experiments.cancel, experiments.retry])
        if made:
            act(ledger.engine, "default", dice.choice(made))

    def collect_garbage() -> None:
        days = dice.choice([None, 0.0, 1.0, 3.0])
        told = place.gc(days, dry_run=True)
        assert place.gc(days) == told
        assert place.gc(days, dry_run=True) == []
        sound(place)

    moves = [submit, claim, claim, claim, leave, leave, leave, interfere, collect_garbage]
    for _ in range(90):
        dice.choice(moves)()
        if dice.random() < 0.1:
            place.age(1)
        if dice.random() < 0.2:
            queue.sweep(ledger.engine)
    collect_garbage()
    made.append(ledger.submit({f"n{i}": tuple(f"n{j}" for j in range(i) if (i + j) % 3 == 0) for i in range(6)}))
    with write(ledger.engine) as connection:
        connection.execute(update(jobs).values(lease_until=0.0, retries_lost=99))
    queue.sweep(ledger.engine)
    place.work()
    assert ledger.state(made[-1]) == "done"
    sound(place)
