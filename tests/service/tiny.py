"""A transfer-gap study of a few seconds, for tests of the whole way from spec to report."""

import json
from typing import Any


def study(seeds: tuple[int, ...] = (0, 1), controls: tuple[str, ...] = (), **heads: Any) -> bytes:
    """The spec, JSON. Source digits 0-2 at two levels, target digits 5-7."""
    arch = {"name": "cnn", "width": 0.25}
    training = {"arch": arch, "epochs": 1, "batch_size": 64, "attack": {"steps": 1}, "holdout_attack_steps": 1}
    digits = {"name": "digits", "size": 8, "max_train": 120, "max_test": 60}
    return json.dumps(
        {
            "name": "tiny",
            "studies": {
                "gap": {
                    "kind": "transfer_gap",
                    "source": {"dataset": {**digits, "classes": [0, 1, 2]}, "training": training},
                    "levels": [0.0, 0.5],
                    "seeds": list(seeds),
                    "targets": [{"label": "digits 5-7", "dataset": {**digits, "classes": [5, 6, 7]}}],
                    "generator": {
                        "training": training,
                        "robust": {"eps": 0.5, "attack": {"steps": 1}, "raise_eps": {"limit": 1.0}},
                    },
                    "antirobust": {"eps": 1.0, "attack": {"steps": 2, "random_start": False}},
                    "controls": list(controls),
                    "heads": {"epochs": 2, "tune_lr": [0.1], "tune_weight_decay": [0.0], **heads},
                    "evaluation": {"steps": 1},
                }
            },
        }
    ).encode()
