"""Without a browser, the tests of the web page are reported as not run, or fail where a browser is required."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one test of the web page with no program on the path."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/browser/test_list.py", "-k", "filters"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ROBXFER_", "PYTEST_"))}
    whole = clean | {"PATH": str(folder)} | environment
    return subprocess.run(command, cwd=ROOT, env=whole, capture_output=True, text=True, timeout=120)


def test_without_a_browser_the_last_line_says_what_was_not_run(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 skipped" in done.stdout
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("NOT RUN: 1 tests of the web page")
    assert "make browser" in last


def test_where_a_browser_is_required_its_absence_is_a_failure(tmp_path: Path) -> None:
    done = run(tmp_path, ROBXFER_REQUIRE_BROWSER="1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "no Chromium on the path" in done.stdout
    assert "NOT RUN" not in done.stdout
