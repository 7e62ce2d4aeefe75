"""The generated pages of the docs say what the models say."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_generated_pages_are_current():
    made = runpy.run_path(str(DOCS / "generate.py"))
    assert (DOCS / "settings.md").read_text() == made["settings"](), "run: python docs/generate.py"
    assert (DOCS / "job-kinds.md").read_text() == made["job_kinds"](), "run: python docs/generate.py"
