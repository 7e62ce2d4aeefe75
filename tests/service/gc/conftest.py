"""What all tests of garbage collection start from."""

from pathlib import Path
from typing import Any

import pytest

from robxfer_core.storage.folder import FolderStore

from .place import Place


@pytest.fixture
def place(ledger: Any, tmp_path: Path) -> Place:
    return Place(ledger, FolderStore(tmp_path / "store"), tmp_path / "scratch")
