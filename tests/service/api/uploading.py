"""Files to upload to a service under test, and what it keeps of them."""

import io
from typing import Any

import httpx2
import numpy as np
from safetensors.torch import save
from sqlalchemy import func, select

from robxfer_core.ledger.engine import read
from robxfer_core.ledger.tables import experiments, jobs, uploads
from robxfer_core.science import models
from robxfer_core.spec.fields import Arch

RAW = {"Content-Type": "application/octet-stream"}
CNN = {"arch": "cnn", "width": 0.25, "input_size": 8, "mean": [0.5], "std": [0.25]}


def npz(**changed: Any) -> bytes:
    made: dict[str, Any] = {
        "x_train": np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8),
        "y_train": np.arange(40) % 3,
        "x_test": np.zeros((6, 8, 8), np.uint8),
        "y_test": np.arange(6) % 3,
    }
    out = io.BytesIO()
    np.savez(out, **(made | changed))
    return out.getvalue()


def weights() -> bytes:
    network = models.build(Arch(name="cnn", width=0.25), 3, 1, 8, [0.5], [0.25], 0)
    return save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})


def kept(service: Any) -> list[str]:
    """Every file of the store."""
    root = service.scratch / "store"
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def count(service: Any, table: Any) -> int:
    with read(service.engine) as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def nothing_is_left(service: Any) -> bool:
    return kept(service) == [] and count(service, uploads) == count(service, experiments) == count(service, jobs) == 0


def post(service: Any, path: str, content: Any, **headers: str) -> httpx2.Response:
    return httpx2.post(f"{service.url}{path}", content=content, headers=RAW | headers, timeout=30)
