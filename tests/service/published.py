"""Checkpoints of the layout and names of the published robust ImageNet models, made small, and a server of them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from robxfer_core.science import models
from robxfer_core.spec.fields import Arch


def write_checkpoint(path: Path, arch: dict[str, Any], seed: int, classes: int = 12) -> None:
    """A file as the robustness library saves one: every weight twice under `model`, the normalisation beside both."""
    network = models.build(Arch.model_validate(arch), classes, 3, 32, [0.5] * 3, [0.25] * 3, seed)
    stored: dict[str, Any] = {}
    for name, tensor in network.state_dict().items():
        theirs = name.removeprefix("body.").replace("head.", "fc.")
        stored[f"module.model.{theirs}"] = stored[f"module.attacker.model.{theirs}"] = tensor
    for part in ("normalizer", "attacker.normalize"):
        stored |= {f"module.{part}.new_{m}": torch.full((3, 1, 1), v) for m, v in (("mean", 0.485), ("std", 0.225))}
    torch.save({"model": stored, "epoch": 89}, path)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The folder by HTTP on a free port of this machine; yields its URL, which ends in `/`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
