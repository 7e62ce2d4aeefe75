"""Results of a made-up study: the result.json files that a report takes, with planted effects."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robxfer_core.jobs.run import Input, Inputs
from robxfer_core.jobs.transfer_gap_report import TransferGapReport

LEVELS = (0.0, 0.5, 1.0, 2.0)
ARMS = ("standard", "antirobust", "relabel_only", "noise", "robust_generator")
SHIFTS: dict[str, tuple[float, float]] = {  # accuracy at eps 0, and its change per unit of eps
    "standard": (0.93, 0.005),
    "antirobust": (0.90, -0.08),
    "robust_generator": (0.94, 0.005),
    "relabel_only": (0.2, 0.0),
    "noise": (0.2, 0.0),
}


def pack(correct: np.ndarray) -> str:
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def card(eps: float, seed: int, epochs: int = 15) -> dict[str, Any]:
    name = f"cnn.l2_eps{eps:g}" if epochs else "cnn.random_init"
    arch = {"name": "cnn", "width": 0.75, "input_size": None}
    return {
        "arch": arch,
        "classes": 5,
        "threat": {"norm": "l2", "eps": eps},
        "seed": seed,
        "epochs": epochs,
        "name": name,
    }


class Study:
    """Writes the results under a folder and remembers them as a report's inputs."""

    def __init__(
        self,
        folder: Path,
        *,
        targets: Sequence[str] = ("digits",),
        arms: Sequence[str] = ARMS,
        levels: Sequence[float] = LEVELS,
        seeds: int = 5,
        n_test: int = 400,
        epochs: int = 30,
        sizes: Sequence[int] = (720,),
        shifts: Mapping[str, tuple[float, float]] = SHIFTS,
        fooling: float = 0.95,
        robust_gain: float = 0.2,
        title: str = "Transfer by robustness",
        seed: int = 0,
    ) -> None:
        self.folder, self.levels, self.seeds, self.n_test = folder, levels, seeds, n_test
        self.epochs, self.sizes, self.shifts = epochs, sizes, {**SHIFTS, **shifts}
        self._rng = np.random.default_rng(seed)
        self._fields: dict[str, list[Input]] = {}
        for eps in levels:
            for s in range(seeds):
                self.put("sources", self._source(eps, s, robust_gain))
        spec_arms = []
        for target in targets:
            for variant in arms:
                index = len(spec_arms)
                transfers = self._transfers(f"arms.{index}.transfers", target, variant)
                data = [self.put(f"arms.{index}.data", r) for r in self._sets(target, variant, fooling)]
                spec_arms.append({"target": target, "variant": variant, "transfers": transfers, "data": data})
        sources = [item.key for item in self._fields["sources"]]
        self.spec = TransferGapReport.model_validate({"title": title, "sources": sources, "arms": spec_arms})

    @property
    def inputs(self) -> Inputs:
        return Inputs(self._fields)

    def put(self, field: str, result: dict[str, Any]) -> str:
        items = self._fields.setdefault(field, [])
        key = f"{field}-{len(items)}".replace(".", "-")
        path = self.folder / key
        path.mkdir(parents=True)
        (path / "result.json").write_text(json.dumps(result))
        items.append(Input(path, key))
        return key

    def results(self, field: str) -> list[dict[str, Any]]:
        return [json.loads((item.path / "result.json").read_text()) for item in self._fields[field]]

    def _source(self, eps: float, seed: int, gain: float) -> dict[str, Any]:
        n = 300
        right = {0.0: self._rng.random(n) < 0.95 - 0.02 * eps}
        for at in self.levels[1:]:
            robust = 0.9 - 0.35 * at + (gain * min(eps, at) if eps else 0)
            right[at] = self._rng.random(n) < np.clip(robust, 0.02, 0.98)
        return {
            "model": card(eps, seed),
            "n": n,
            "norm": "l2",
            "clean": float(right[0.0].mean()),
            "robust": {f"{at:g}": float(bits.mean()) for at, bits in right.items()},
            "correct": {f"{at:g}": pack(bits) for at, bits in right.items()},
        }

    def _transfers(self, field: str, target: str, variant: str) -> list[str]:
        base, slope = self.shifts[variant]
        difficulty = self._rng.standard_normal(self.n_test)
        keys = []
        for seed in range(self.seeds):
            for eps in self.levels:
                accuracy = base + slope * eps + 0.006 * self._rng.standard_normal()
                keys.append(self.put(field, self._transfer(target, variant, card(eps, seed), accuracy, difficulty)))
            untrained = min(base, 0.2 + 0.6 * base * (base > 0.3))
            keys.append(self.put(field, self._transfer(target, variant, card(0.0, seed, 0), untrained, difficulty)))
        return keys

    def _transfer(
        self, target: str, variant: str, model: dict[str, Any], accuracy: float, difficulty: np.ndarray
    ) -> dict[str, Any]:
        curves = []
        for n in self.sizes:
            for standardised in (False, True):
                rate = (0.25 if standardised else 0.12) * (1 + 0.3 * model["threat"]["eps"])
                learnt = 1 - np.exp(-rate * np.arange(1, self.epochs + 1))
                goal = accuracy * (n / self.sizes[-1]) ** 0.1
                curve = np.clip(
                    0.2 + (goal - 0.2) * learnt + 0.004 * self._rng.standard_normal(self.epochs), 0.02, 0.99
                )
                first, last = (self._right(curve[at], difficulty) for at in (0, -1))
                curve[0], curve[-1] = first.mean(), last.mean()
                curves.append(
                    {
                        "n": n,
                        "standardised": standardised,
                        "train_loss": np.exp(-learnt).tolist(),
                        "test": curve.tolist(),
                        "correct_first": pack(first),
                        "correct_last": pack(last),
                    }
                )
        best = {"lr": 0.1, "weight_decay": 0.0}
        return {
            "model": model,
            "data": {
                "name": target,
                "variant": variant,
                "n_train": self.sizes[-1],
                "n_test": self.n_test,
                "classes": 5,
            },
            "features_key": "0" * 64,
            "curves": curves,
            "asymptote": {name: {"test": accuracy, "l2": 0.001, "converged": True} for name in ("raw", "standardised")},
            "tuned": {"best": best, "validation": accuracy, "test": accuracy, "table": []},
            "seed": model["seed"],
        }

    def _right(self, accuracy: float, difficulty: np.ndarray) -> np.ndarray:
        """Outcomes of which this fraction is right; difficult images are more often wrong."""
        order = np.argsort(difficulty + 0.7 * self._rng.standard_normal(self.n_test))
        right = np.zeros(self.n_test, dtype=bool)
        right[order[: round(accuracy * self.n_test)]] = True
        return right

    def _sets(self, target: str, variant: str, fooling: float) -> list[dict[str, Any]]:
        if variant == "standard":
            return []
        norm = {split: {"mean": 1.48, "max": 1.5} for split in ("train", "test")}
        data = {"name": target, "variant": variant}
        if variant in ("relabel_only", "noise"):
            return [{"data": data, "arm": variant, "norm": norm} for _ in range(self.seeds)]
        return [
            {
                "data": data,
                "generator": card(0.5 if variant == "robust_generator" else 0.0, seed),
                "generator_accuracy": {"train": 0.99, "test": 0.96},
                "eps": 1.5,
                "eps_tried": [[1.5, fooling]],
                "fooling": {"train": fooling + 0.01, "test": fooling},
                "norm": norm,
                "stored": {"dtype": "float16", "bytes": 460_000, "fooling": {"train": fooling + 0.01, "test": fooling}},
                "targets": "uniform",
            }
            for seed in range(self.seeds)
        ]
