"""What a child says, line by line, gathered into batches."""

import json
import selectors
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robxfer_core.spec.records import Progress

from .forkserver import Child

LINE = 4000  # characters of a line of log that are kept
BATCH = 2000  # entries after which a batch is written at once


class Talk:
    """Passes a child's progress and checkpoints on at once, its metrics and log lines in batches."""

    def __init__(
        self,
        flush_s: float,
        note: Callable[[list[tuple[str, int, float]], list[str]], None],
        progress: Callable[[Progress], None],
        checkpoint: Callable[[Path], None],
    ) -> None:
        self.end: dict[str, Any] | None = None
        """What the child said last, if it got so far: its outcome, and its error."""
        self._flush_s, self._note, self._progress, self._checkpoint = flush_s, note, progress, checkpoint
        self._metrics: list[tuple[str, int, float]] = []
        self._logs: list[str] = []
        self._rest = b""
        self._flushed = time.monotonic()

    def listen(self, child: Child, timeout: float) -> bool:
        """Take in what the child says, for as long as it speaks or until the timeout. True: it has ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(child.status, selectors.EVENT_READ)
            if not child.deaf:
                selector.register(child.channel, selectors.EVENT_READ)
            ready = {key.fd for key, _ in selector.select(timeout)}
        if not child.deaf and child.channel.fileno() in ready:
            self._take(child.hear())
        ended = child.status in ready
        if ended:
            while piece := child.hear():
                self._take(piece)
        if ended or time.monotonic() - self._flushed >= self._flush_s or len(self._metrics) + len(self._logs) > BATCH:
            self._flush()
        return ended

    def _take(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            for kind, value in json.loads(line).items():
                self._heard(kind, value)

    def _heard(self, kind: str, value: Any) -> None:
        if kind == "progress":
            self._progress(value)
        elif kind == "metric":
            self._metrics.append((value[0], value[1], value[2]))
        elif kind == "log":
            self._logs.append(value[:LINE])
        elif kind == "checkpoint":
            self._checkpoint(Path(value))
        elif kind == "end":
            self.end = value

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        if self._metrics or self._logs:
            metrics, logs = self._metrics, self._logs
            self._metrics, self._logs = [], []
            self._note(metrics, logs)
