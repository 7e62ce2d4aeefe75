"""Runs the benchmarks named, or all of them."""

import json
import platform
import sys

import torch

from . import attack, cost, heads, ledger, training

ALL = {"attack": attack.run, "training": training.run, "heads": heads.run, "ledger": ledger.run, "cost": cost.run}


def main() -> None:
    torch.set_num_threads(1)
    machine = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__, "threads": 1}
    print(json.dumps(machine), flush=True)
    for name in sys.argv[1:] or ALL:
        for figure in ALL[name]():
            print(json.dumps({"benchmark": name, **figure}), flush=True)


main()
