"""The generated pages of the docs say what the models say, and what pages name is there."""

import re
import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [*DOCS.glob("*.md"), DOCS.parent / "README.md"]


def test_generated_pages_are_current():
    made = runpy.run_path(str(DOCS / "generate.py"))
    assert (DOCS / "settings.md").read_text() == made["settings"](), "run: python docs/generate.py"
    assert (DOCS / "job-kinds.md").read_text() == made["job_kinds"](), "run: python docs/generate.py"


def test_every_test_that_a_page_names_is_there():
    named = {each for page in PAGES for each in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page.read_text())}
    assert len(named) > 20
    for path, test in named:
        text = (DOCS.parent / path).read_text()
        assert not test or re.search(rf"^def {test}\(", text, re.MULTILINE), f"{path}::{test}"


def test_results_are_of_the_examples_as_they_are():
    kept = sorted((DOCS / "results").glob("*/spec.yaml"))
    assert len(kept) >= 11
    for spec in kept:
        assert spec.read_text() == (DOCS.parent / "examples" / f"{spec.parent.name}.yaml").read_text(), spec


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
