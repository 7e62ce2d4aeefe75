"""The generated pages of the docs say what the models say, and what pages name is there."""

import re
import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md"), *DOCS.parent.glob("examples/*.md")]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


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


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as GitHub and the site name them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_links_lead_to_a_file_and_a_heading():
    links = [(page, link) for page in PAGES for link in LINK.findall(FENCE.sub("", page.read_text()))]
    assert len(links) > 100
    for page, link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.is_file(), f"{page}: {link} (a folder has no page on the site)"
        assert not anchor or anchor in anchors(target), f"{page}: {link}"


def test_lines_are_of_a_length_that_is_read_and_reviewed():
    for page in PAGES:
        for number, line in enumerate(page.read_text().splitlines(), 1):
            assert len(line) <= 160 or line.startswith("|"), f"{page}:{number}: {len(line)} characters"


def test_paths_of_code_that_a_page_names_are_there():
    root = DOCS.parent
    rooms = {folder.name: folder.parent for parent in (root, root / "robxfer_core") for folder in parent.glob("*/")}
    for page in PAGES:
        for path in re.findall(r"`((?:[\w-]+/)+(?:[\w-]+\.\w+)?)`", page.read_text()):
            first = path.partition("/")[0]
            if first in rooms or path.endswith(".py"):
                assert (rooms.get(first, root) / path).exists(), f"{page}: {path}"
