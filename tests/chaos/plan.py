"""What is to happen, all of it drawn from the seed before anything does: faults by round, and the experiments."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

VICTIMS = ("child", "worker", "api", "database", "broker", "store", "pause", "late_pause")
WORKERS = 2
FAULTS = 4  # in a round: two rounds meet every victim
SPREAD_S = 2.0  # seconds over which the faults of a round begin
RUN = {"retries": {"failed": 20, "timed_out": 20, "out_of_memory": 20, "lost": 100}, "backoff_s": 0.2}
ENDLESS = 10_000  # epochs
OUTAGE_S = 3.5  # at the most: with its start, longer than a lease


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    victim: str
    after_s: float
    """Since its round began."""
    down_s: float
    """Until it is started again."""
    sudden: bool
    """By SIGKILL; else it is asked to end."""
    worker: int
    """Whose."""


def draw_faults(rng: random.Random, rounds: int, victims: Sequence[str] = VICTIMS) -> list[list[Fault]]:
    """The faults of each round: no victim twice in a round, and each as often as any other."""
    deck: list[str] = []
    dealt = []
    for _ in range(rounds):
        if len(deck) < min(FAULTS, len(victims)):
            deck = rng.sample(victims, len(victims))
        chosen, deck = deck[:FAULTS], deck[FAULTS:]
        dealt.append([_fault(rng, victim) for victim in chosen])
    return dealt


def _fault(rng: random.Random, victim: str) -> Fault:
    return Fault(
        victim=victim,
        after_s=rng.uniform(0, SPREAD_S),
        down_s=rng.uniform(0.1, OUTAGE_S),
        sudden=rng.random() < 0.75,
        worker=rng.randrange(WORKERS),
    )


def endless(number: int) -> bytes:
    """A spec, JSON, of trainings that last until they are cancelled: workers that die have children then."""
    digits = {"kind": "dataset", "name": "digits", "max_train": 300, "max_test": 100, "seed": number}
    train = {"kind": "train", "dataset": "digits", "arch": {"name": "cnn", "width": 0.25}, "epochs": ENDLESS}
    jobs = {"digits": digits, "model": train | {"matrix": {"seed": [0, 1, 2]}}}
    return json.dumps({"name": f"endless-{number}", "run": RUN | {"priority": 1}, "jobs": jobs}).encode()


def draw_experiment(rng: random.Random, number: int) -> bytes:
    """A spec, JSON, of jobs of its own: a chain of every kind, or trainings at once, one of them by two processes."""
    digits = {"kind": "dataset", "name": "digits", "max_train": 300, "max_test": 100, "seed": number}
    train = {
        "kind": "train",
        "dataset": "digits",
        "arch": {"name": "cnn", "width": 0.25},
        "epochs": rng.randrange(10, 40),
        "seed": number,
    }
    attack = {"steps": 5}
    jobs: dict[str, Any] = {"digits": digits, "model": train}
    if number % 2:
        jobs["model"] = train | {"matrix": {"seed": [3 * number, 3 * number + 1]}}
        jobs["pair"] = train | {"seed": 3 * number + 2, "run": {"gpus": 2} | RUN}
    else:
        jobs |= {
            "score": {
                "kind": "evaluate", "model": "model", "dataset": "digits", "eps": [0.0, 0.5], "attack": attack
            },
            "moved": {
                "kind": "perturb_dataset", "dataset": "digits", "generator": "model",
                "threat": {"norm": "l2", "eps": 0.5}, "attack": {"steps": 20, "random_start": False},
            },
            "seen": {"kind": "features", "model": "model", "dataset": "moved"},
            "heads": {
                "kind": "transfer", "features": "seen", "epochs": 5, "tune_lr": [0.1], "tune_weight_decay": [0.0]
            },
        }  # fmt: skip
    return json.dumps({"name": f"chaos-{number}", "run": RUN, "jobs": jobs}).encode()
