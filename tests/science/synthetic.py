"""Results of a made-up study: the result.json files that a report takes, with planted effects."""

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from robxfer_core.jobs.compute import result_json
from robxfer_core.jobs.control_dataset import ControlDatasetResult
from robxfer_core.jobs.evaluate import EvaluateResult
from robxfer_core.jobs.perturb_dataset import PerturbDatasetResult, StoredPerturbation
from robxfer_core.jobs.results import DatasetName, MeanMax, ModelCard, Result, Split, TaskSummary
from robxfer_core.jobs.run import Input, Inputs
from robxfer_core.jobs.transfer import Asymptote, Curve, Rates, TransferResult, TunedHead
from robxfer_core.jobs.transfer_gap_report import TransferGapReport
from robxfer_core.spec.fields import Arch, ThreatModel

R = TypeVar("R", bound=Result)

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


def card(eps: float, seed: int, epochs: int | None = 15) -> ModelCard:
    return ModelCard(
        arch=Arch(name="cnn", width=0.75),
        classes=5,
        channels=1,
        input_size=8,
        mean=[0.5],
        std=[0.25],
        representation=48,
        threat=ThreatModel(eps=eps),
        seed=seed,
        epochs=epochs,
        name="cnn.random_init" if epochs == 0 else f"cnn.l2_eps{eps:g}",
    )


def evaluation(model: ModelCard, right: Mapping[float, np.ndarray]) -> EvaluateResult:
    """The result of an evaluation, from the outcomes at each eps."""
    return EvaluateResult(
        model=model,
        n=len(right[0.0]),
        clean=float(right[0.0].mean()),
        robust={f"{eps:g}": float(outcomes.mean()) for eps, outcomes in right.items()},
        attacks={},
        margin_in_place_of_dlr=[],
        norm="l2",
        correct={f"{eps:g}": pack(outcomes) for eps, outcomes in right.items()},
        warnings=[],
    )


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

    def put(self, field: str, result: Result) -> str:
        items = self._fields.setdefault(field, [])
        key = f"{field}-{len(items)}".replace(".", "-")
        path = self.folder / key
        path.mkdir(parents=True)
        (path / "result.json").write_bytes(result_json(result))
        items.append(Input(path, key))
        return key

    def results(self, field: str, model: type[R]) -> list[R]:
        return [model.read(item.path) for item in self._fields[field]]

    def change(self, field: str, model: type[R], changed: Callable[[R], R]) -> None:
        """Replace each result of a field by what is made of it."""
        for item in self._fields[field]:
            (item.path / "result.json").write_bytes(result_json(changed(model.read(item.path))))

    def _source(self, eps: float, seed: int, gain: float) -> EvaluateResult:
        n = 300
        right = {0.0: self._rng.random(n) < 0.95 - 0.02 * eps}
        for at in self.levels[1:]:
            robust = 0.9 - 0.35 * at + (gain * min(eps, at) if eps else 0)
            right[at] = self._rng.random(n) < np.clip(robust, 0.02, 0.98)
        return evaluation(card(eps, seed), right)

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
        self, target: str, variant: str, model: ModelCard, accuracy: float, difficulty: np.ndarray
    ) -> TransferResult:
        curves = []
        for n in self.sizes:
            for standardised in (False, True):
                rate = (0.25 if standardised else 0.12) * (1 + 0.3 * model.threat.eps)
                learnt = 1 - np.exp(-rate * np.arange(1, self.epochs + 1))
                goal = accuracy * (n / self.sizes[-1]) ** 0.1
                curve = np.clip(
                    0.2 + (goal - 0.2) * learnt + 0.004 * self._rng.standard_normal(self.epochs), 0.02, 0.99
                )
                first, last = (self._right(curve[at], difficulty) for at in (0, -1))
                curve[0], curve[-1] = first.mean(), last.mean()
                curves.append(
                    Curve(
                        n=n,
                        standardised=standardised,
                        train_loss=np.exp(-learnt).tolist(),
                        test=curve.tolist(),
                        mean_per_class=None,
                        correct_first=pack(first),
                        correct_last=pack(last),
                    )
                )
        asymptote = Asymptote(test=accuracy, l2=0.001, validation=accuracy, converged=True)
        return TransferResult(
            model=model,
            data=TaskSummary(name=target, variant=variant, n_train=self.sizes[-1], n_test=self.n_test, classes=5),
            features_key="0" * 64,
            regime="fixed_feature",
            unfrozen_blocks=0,
            curves=curves,
            asymptote={"raw": asymptote, "standardised": asymptote},
            tuned=TunedHead(
                best=Rates(lr=0.1, weight_decay=0.0),
                validation=accuracy,
                test=accuracy,
                mean_per_class=None,
                correct=curves[-1].correct_last,
                table=[],
            ),
            robust=None,
            seed=model.seed,
        )

    def _right(self, accuracy: float, difficulty: np.ndarray) -> np.ndarray:
        """Outcomes of which this fraction is right; difficult images are more often wrong."""
        order = np.argsort(difficulty + 0.7 * self._rng.standard_normal(self.n_test))
        right = np.zeros(self.n_test, dtype=bool)
        right[order[: round(accuracy * self.n_test)]] = True
        return right

    def _sets(self, target: str, variant: str, fooling: float) -> Sequence[Result]:
        if variant == "standard":
            return []
        splits: tuple[Split, Split] = ("train", "test")
        norm: dict[Split, MeanMax] = {split: MeanMax(mean=1.48, max=1.5) for split in splits}
        data = DatasetName(name=target, variant=variant)
        if variant == "relabel_only" or variant == "noise":
            unreached = dict.fromkeys(splits, 0)
            control = ControlDatasetResult(data=data, arm=variant, norm=norm, unreached=unreached)
            return [control] * self.seeds
        rates: dict[Split, float] = {"train": fooling + 0.01, "test": fooling}
        return [
            PerturbDatasetResult(
                data=data,
                generator=card(0.5 if variant == "robust_generator" else 0.0, seed),
                generator_accuracy={"train": 0.99, "test": 0.96},
                threat=ThreatModel(eps=1.5),
                eps=1.5,
                eps_tried=[(1.5, fooling)],
                fooling=rates,
                norm=norm,
                stored=StoredPerturbation(dtype="float16", bytes=460_000, fooling=rates),
                targets="uniform",
            )
            for seed in range(self.seeds)
        ]
