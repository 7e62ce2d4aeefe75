"""Names of weights in files of others, and what they are called here: shown before anything is loaded."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robxfer_core.science.data.uploads.refusal import BadUpload
from robxfer_core.science.models import Network

WRAPPERS = ("module.", "model.")
"""What trainers wrap a network in; the robustness library does so up to three times."""
HEADS = ("head.", "fc.", "linear.")
COPIES = ("attacker.", "normalizer.", "normalize.")
"""The robustness library keeps every weight twice, and the normalisation beside both."""
SHOWN = 10
WIDTH = 200
"""Characters of a line: names are their maker's."""


@dataclass(frozen=True)
class TensorNames:
    """Which tensor of a file becomes which of ours."""

    taken: dict[str, str]
    """Our name -> the file's."""
    dropped: dict[str, str]
    """The file's name -> why it is not taken."""

    def lines(self, most: int = 50) -> list[str]:
        """What is done with the file's tensors, a line for each way of renaming and each reason to drop."""
        renamed = Counter(_change(theirs, ours) for ours, theirs in self.taken.items())
        why = Counter((_group([*name.split(".")[:2], "*"]), reason) for name, reason in self.dropped.items())
        told = [f"{len(self.taken)} of {len(self.taken) + len(self.dropped)} tensors of the file are taken"]
        told += [f"renamed: {theirs} -> {ours} ({n})" for (theirs, ours), n in renamed.items()]
        told += [f"dropped: {group} ({n}): {reason}" for (group, reason), n in why.items()]
        more = [f"and {len(told) - most} lines more, in mapping.json"] if len(told) > most else []
        return [line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..." for line in told[:most]] + more

    def write(self, folder: Path) -> None:
        """mapping.json: every tensor of the file, and what became of it."""
        told = {"taken": {theirs: ours for ours, theirs in self.taken.items()}, "dropped": self.dropped}
        (folder / "mapping.json").write_text(json.dumps(told, indent=1) + "\n")


def names_of(stored: Mapping[str, Any]) -> TensorNames:
    """The body's tensors under `body.`, the classifier's under `head.`. Raises BadUpload where two become one."""
    taken: dict[str, str] = {}
    dropped: dict[str, str] = {}
    for theirs in stored:
        ours = theirs
        while ours.startswith(WRAPPERS):
            ours = ours.split(".", 1)[1]
        if ours.startswith(COPIES):
            copy = ours.startswith("attacker.") and ".normalize" not in ours
            dropped[theirs] = "a second copy of the weights" if copy else "the normalisation, kept in model.json"
            continue
        head = next((prefix for prefix in HEADS if ours.startswith(prefix)), None)
        if head is not None:
            ours = "head." + ours.removeprefix(head)
        elif not ours.startswith("body."):
            ours = "body." + ours.replace(".shortcut.", ".downsample.")  # its CIFAR networks
        if ours in taken:
            raise BadUpload(theirs, f"a second tensor of the place of {taken[ours]}", "each weight once")
        taken[ours] = theirs
    return TensorNames(taken, dropped)


def check_fit(network: Network, tensors: Mapping[str, Tensor], names: TensorNames, takes: str) -> None:
    """Raise BadUpload, naming both sides, unless the tensors (by our names) are the network's by name, shape and type.

    `takes`: what the network is, for people.
    """
    wanted = network.state_dict()
    problems = [f"it lacks {_plain(name)} {list(wanted[name].shape)}" for name in wanted if name not in tensors]
    problems += [
        f"its {names.taken[name]} {list(tensors[name].shape)} has no place there"
        for name in tensors
        if name not in wanted
    ]
    for name in wanted.keys() & tensors.keys():
        got, right = tensors[name], wanted[name]
        floats = got.is_floating_point() and right.is_floating_point()  # any precision is taken
        if got.shape != right.shape or not (floats or got.dtype == right.dtype):
            its = f"{names.taken.get(name, name)} is {got.dtype} {list(got.shape)}"
            problems.append(f"its {its}, {_plain(name)} there is {right.dtype} {list(right.shape)}")
    if problems:
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise BadUpload("the weights", "; ".join(sorted(problems)[:SHOWN]) + more, takes)


def with_counts(network: Network, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, and zero for batch norm's counts of batches that older files lack: only training reads them."""
    counts = {name: like for name, like in network.state_dict().items() if name.endswith("num_batches_tracked")}
    return {name: torch.zeros_like(like, device="cpu") for name, like in counts.items()} | dict(tensors)


def _plain(ours: str) -> str:
    """Our name as torchvision has it."""
    return ours.removeprefix("body.")


def _change(theirs: str, ours: str) -> tuple[str, str]:
    """The parts that differ, numbers of layers left open: ('module.model.fc.*', 'head.*')."""
    left, right = theirs.split("."), ours.split(".")
    while left and right and left[-1] == right[-1]:
        left.pop()
        right.pop()
    return _group([*left, "*"]), _group([*right, "*"])


def _group(parts: list[str]) -> str:
    return ".".join(re.sub(r"\d+$", "N", part) for part in parts)
