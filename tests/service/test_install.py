"""What an installation brings: the bare library and the API work without torch. Wheels are built as users get them."""

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BARE = """
import sys
import robxfer_core.client, robxfer_core.planning.plan, robxfer_core.planning.experiment as experiment
spec = experiment.read_spec(b"name: x\\njobs: {a: {kind: dataset, name: digits}}")
assert len(robxfer_core.planning.plan.make_plan(spec).nodes) == 1
import robxfer_cli.main
for absent in ("torch", "fastapi", "celery", "sqlalchemy", "numpy"):
    try:
        __import__(absent)
    except ModuleNotFoundError:
        continue
    sys.exit(f"{absent} is there")
"""
API = """
import sys
from pathlib import Path
from robxfer_api.main import create_app
from robxfer_core.ledger.migrate import upgrade
from robxfer_core.settings import Settings
settings = Settings(data_dir=Path(sys.argv[1]))
settings.data_dir.mkdir()
upgrade(settings.database_url)
app = create_app(settings)
import robxfer_api
pages = Path(robxfer_api.__file__).parent
assert list((pages / "pages").glob("*.html")) and list((pages / "static").iterdir())
assert any(getattr(route, "path", "") == "/healthz" for route in app.routes) or "/healthz" in app.openapi()["paths"]
from robxfer_core.planning.power import detectable_effect
assert detectable_effect(5, 4, 500, 0.02, 0.3) > 0
for absent in ("torch", "torchvision"):
    try:
        __import__(absent)
    except ModuleNotFoundError:
        continue
    sys.exit(f"{absent} is there")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a build leaves files in the tree that it builds
    for name in ("robxfer_core", "services", "migrations"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*build, "--wheel-dir", str(folder), str(source))
    (found,) = folder.glob("*.whl")
    return found


def run(*words: str, python: Path | str = sys.executable, cwd: Path | None = None) -> None:
    done = subprocess.run([str(python), *words], capture_output=True, text=True, timeout=800, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("lock", "program"), [("base", BARE), ("api", API)])
def test_it_works_without_torch(wheel: Path, tmp_path: Path, lock: str, program: str):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = ("-m", "pip", "install", "--quiet")
    requirements = str(ROOT / "requirements" / f"{lock}.txt")
    run(*install, "--require-hashes", "--requirement", requirements, python=python)
    run(*install, "--no-deps", str(wheel), python=python)
    run("-c", program, str(tmp_path / "data"), python=python, cwd=tmp_path)


def test_every_file_of_every_package_is_shipped(wheel: Path):
    packages = [ROOT / "robxfer_core", *ROOT.glob("services/*/robxfer_*"), ROOT / "migrations" / "robxfer_migrations"]
    assert len(packages) == 5
    expected = {
        f"{package.name}/{file.relative_to(package).as_posix()}"
        for package in packages
        for file in package.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {f"{package.name}/py.typed" for package in packages} <= expected
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
    metadata = {name for name in shipped if name.startswith("robxfer-")}
    assert shipped - metadata == expected
    assert any(name.endswith("/licenses/LICENSE") for name in metadata)
