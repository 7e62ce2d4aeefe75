"""`python -m tests.chaos --rounds N`: one JSON line at the end; exit status 1 where anything was lost or left over."""

import argparse
import contextlib
import json
import random
import shutil
import signal
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import stamina

from robxfer_core.client import ApiError, Client, Unreachable
from robxfer_core.ledger.engine import connect
from robxfer_core.storage import open_store
from tests.service import servers

from .count import count
from .faults import Faults
from .plan import FAULTS, VICTIMS, draw_experiment, draw_faults, endless
from .stack import Stack

ANSWER_S = 120.0  # within which a submission is accepted, whatever is down meanwhile
END_S = 300.0  # within which all ends, once nothing is done to the stack any more
BEGAN = time.monotonic()
WRONG = ("damaged", "fallen", "lost", "published_twice", "orphans")
BACKLOG = 3  # experiments that have not ended when the next round begins, at the most


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    asked.add_argument("--rounds", type=int, default=10)
    asked.add_argument("--seed", type=int, default=None, help="of faults and experiments; by default, a new one")
    asked.add_argument("--broker", choices=("valkey", "rabbitmq"), default="valkey")
    asked.add_argument("--only", choices=VICTIMS, action="append", help="the only victim, or victims")
    asked.add_argument("--unfenced", action="store_true", help="without the fence's condition, to see the suite fail")
    asked.add_argument("--keep", action="store_true", help="keep the folder with its logs")
    options = asked.parse_args()
    stamina.instrumentation.set_on_retry_hooks([])  # it would say on stdout how often the service was away
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended all the same
    folder = Path(tempfile.mkdtemp(prefix="robxfer-chaos-"))
    try:
        result = run(folder, options)
    finally:
        if options.keep:
            say(f"logs are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(result))
    whole = result["states"] == {"done": result["rounds"], "cancelled": result["rounds"]}
    return 0 if whole and not any(result[name] for name in WRONG) else 1


def run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    rng = random.Random(seed)
    rounds = draw_faults(rng, options.rounds, options.only or VICTIMS)
    stack = Stack(folder, options.broker, fenced=not options.unfenced)
    try:
        stack.start()
        say(f"seed {seed}: the stack is up")
        engine = connect(stack.settings.database_url)
        faults = Faults(stack, engine, rng)
        accepted: list[str] = []
        with ThreadPoolExecutor(FAULTS + 2) as threads, stack.client() as client:
            try:
                for number, planned in enumerate(rounds):
                    specs = (endless(number), draw_experiment(rng, number))
                    asking = [threads.submit(submit, client, spec) for spec in specs]
                    doing = [threads.submit(faults.do, fault) for fault in planned]
                    for each in doing:
                        each.result()
                    for each in asking:
                        accepted.append(each.result())
                    stack.mend()
                    servers.until(partial(cancelled, client, accepted[-2]), END_S)
                    left = servers.until(partial(few, client, accepted, BACKLOG), END_S)
                    say(f"round {number}: {', '.join(f.victim for f in planned)}; {left} experiments run")
            except (AssertionError, TimeoutError) as error:  # what is lost is counted all the same
                say(f"no further round: {error}")
            wait_for_the_end(client, accepted)
        orphans = faults.orphans | children_left(stack)
        stack.mend()
        counted = count(engine, open_store(stack.settings.store_url, stack.settings), accepted)
        engine.dispose()
        stack.drain()
        orphans |= stack.processes()
        for name in ("lost", "published_twice", "damaged"):
            if getattr(counted, name):
                say(f"{name}: {getattr(counted, name)}")
        for fell in stack.fallen:
            say(f"fell: {fell}")
    finally:
        stack.stop()
    return {
        "rounds": len(rounds),
        "seed": seed,
        "broker": options.broker,
        "seconds": round(time.monotonic() - BEGAN),
        "kills": dict(sorted(faults.kills.items())),
        "accepted": len(accepted),
        "ended": len(accepted) - len(counted.lost),
        "states": counted.states,
        "attempts": counted.outcomes,
        "fallen": len(stack.fallen),
        "damaged": len(counted.damaged),
        "lost": len(counted.lost),
        "published_twice": len(counted.published_twice),
        "orphans": len(orphans),
    }


def submit(client: Client, spec: bytes) -> str:
    """The id of the experiment, once the service has accepted it, however often it has to be asked."""
    key = uuid.uuid4().hex
    deadline = time.monotonic() + ANSWER_S
    while True:
        try:
            return client.submit(spec, "json", key).id
        except Unreachable:
            pass
        except ApiError as error:
            if error.problem.status < 500:
                raise
        if time.monotonic() > deadline:
            raise TimeoutError("the service does not accept experiments")
        time.sleep(0.2)


def cancelled(client: Client, id: str) -> bool:
    """Whether the service has taken the cancel."""
    try:
        client.cancel(id)
    except (Unreachable, ApiError):
        return False
    return True


def few(client: Client, accepted: list[str], limit: int) -> str | None:
    """How many of the experiments still run, if that is no more than the limit."""
    try:
        running = sum(client.get(each).state == "running" for each in accepted[-4 * limit - 4 :])
    except (Unreachable, ApiError):
        return None
    return str(running) if running <= limit else None


def wait_for_the_end(client: Client, accepted: list[str]) -> None:
    """Until all have ended, or for so long that they are lost."""
    with contextlib.suppress(AssertionError):
        for each in accepted:
            servers.until(lambda id=each: ended(client, id), END_S, 0.3)


def ended(client: Client, id: str) -> bool:
    try:
        return client.get(id).state != "running"
    except (Unreachable, ApiError):
        return False


def children_left(stack: Stack) -> set[int]:
    """Children that live on though there is nothing to compute: none, soon after the end."""
    try:
        servers.until(lambda: not stack.children())
    except AssertionError:
        return stack.children()
    return set()


def say(line: str) -> None:
    print(f"{time.monotonic() - BEGAN:6.1f} s  {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
