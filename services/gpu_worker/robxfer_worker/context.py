"""What a worker has: slots, and what the supervisors of all its attempts share."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from robxfer_core.settings import Settings
from robxfer_core.storage import Store

from .cache import Cache
from .forkserver import ForkServer
from .shutdown import Drain


@dataclass(frozen=True)
class Slot:
    """A place for one job at a time: its number, and the GPUs that it computes on (none: the CPU).

    A GPU is named as CUDA_VISIBLE_DEVICES would: by its number on the machine, or its UUID.
    """

    number: int
    gpus: tuple[str, ...] = ()

    @property
    def device(self) -> str:
        return "cuda" if self.gpus else "cpu"


@dataclass(frozen=True)
class House:
    """What all supervisors of a worker share."""

    settings: Settings
    engine: Engine
    store: Store
    cache: Cache
    forks: ForkServer
    work: Path
    """Folder of the running attempts, this process's own."""
    draining: Drain
