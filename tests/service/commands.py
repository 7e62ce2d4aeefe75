"""The command line as a user runs it, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "robxfer_cli.main", *words, "--data-dir", str(folder / "data")]


def robxfer(folder: Path, *words: str, seconds: float = 800) -> subprocess.CompletedProcess[str]:
    """Runs the command in a folder, whose `data` is its stack's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROBXFER_")}
    return subprocess.run(
        command(folder, *words), cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds
    )
