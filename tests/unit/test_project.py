"""The files at the top of the repository agree with each other: lock files, versions, citation."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from robxfer_core import __version__

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
GROUPS = PYPROJECT["dependency-groups"]
LOCKS = {
    "base": PYPROJECT["project"]["dependencies"] + GROUPS["build"],
    "api": ["robxfer[api]", *PYPROJECT["project"]["dependencies"], *GROUPS["build"]],
    "worker": ["robxfer[worker]", *PYPROJECT["project"]["dependencies"], *GROUPS["build"]],
    "dev": [f"robxfer[{','.join(EXTRAS)}]", *PYPROJECT["project"]["dependencies"], *GROUPS["build"]],
    "peers": GROUPS["peers"],
}


def requirements(texts: list[str]) -> Iterator[Requirement]:
    """The requirements in these texts; the project's own extras are replaced by what they hold."""
    for requirement in map(Requirement, texts):
        if requirement.name == "robxfer":
            yield from requirements([text for extra in requirement.extras for text in EXTRAS[extra]])
        else:
            yield requirement


def pins(lock: str) -> dict[str, str]:
    """The version of every package that a lock file holds."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert all(re.search(r" --hash=sha256:[0-9a-f]{64}( |$)", line) for line in lines)
    return {canonicalize_name(name): version for name, version in re.findall(r"^(\S+)==(\S+)", "\n".join(lines), re.M)}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_holds_all_that_pyproject_asks_for(lock: str) -> None:
    versions = pins(lock)
    stale = [
        str(requirement)
        for requirement in requirements(LOCKS[lock])
        if not requirement.specifier.contains(versions.get(canonicalize_name(requirement.name), "0"))
    ]
    assert not stale, f"run `make lock`: requirements/{lock}.txt lacks {stale}"


def test_a_package_has_one_version_in_all_lock_files() -> None:
    versions = pins("dev")
    for lock in ("base", "api", "worker"):
        assert pins(lock).items() <= versions.items()
    assert all(versions.get(name, version) == version for name, version in pins("peers").items())


def test_lock_files_name_no_host() -> None:
    assert not [path.name for path in (ROOT / "requirements").iterdir() if "://" in path.read_text()]


def test_what_builds_the_package_is_locked() -> None:
    assert PYPROJECT["build-system"]["requires"] == GROUPS["build"]


def test_changelog_and_citation_name_the_version() -> None:
    releases = re.findall(r"^## \[(\d\S*)\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert releases[0] == (__version__, str(citation["date-released"]))
    assert citation["version"] == __version__


@pytest.mark.parametrize(
    ("file", "schema"), [("CITATION.cff", "citation-file-format"), (".github/workflows/ci.yml", "github-workflows")]
)
def test_files_keep_to_their_schema(file: str, schema: str) -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(ROOT / file)]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_workflow_and_hooks_call_make_targets_that_are_there() -> None:
    targets = set(re.findall(r"^([a-z./]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    (workflow,) = (ROOT / ".github/workflows").iterdir()
    text = workflow.read_text()
    called = {word for line in re.findall(r"- run: make ([^$\n]+)$", text, re.MULTILINE) for word in line.split()}
    (nightly,) = re.findall(r"target: \[(.*)\]", text)
    hooks = re.findall(r"entry: make (\S+)$", (ROOT / ".pre-commit-config.yaml").read_text(), re.MULTILINE)
    assert {"browser", "test"} <= called
    assert called | set(nightly.split(", ")) | set(hooks) <= targets
    assert 'ROBXFER_REQUIRE_BROWSER: "1"' in text
