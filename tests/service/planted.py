"""Files in a working directory that have the names of modules: whoever imports one of them leaves a witness."""

import sys
from importlib.metadata import packages_distributions
from pathlib import Path

READ_BY_NAME = ("celeryconfig", "sitecustomize", "usercustomize")


def plant(folder: Path) -> Path:
    """Write a file for every module of Python's own and of every installed package.

    Args:
        folder: A working directory; made where it is missing.

    Returns:
        The witness: a file that is not there until one of them is imported. It then holds their names, a line each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    witness = folder / "imported-from-the-working-directory"
    for name in filter(str.isidentifier, {*sys.stdlib_module_names, *packages_distributions(), *READ_BY_NAME}):
        (folder / f"{name}.py").write_text(f"with open({str(witness)!r}, 'a') as file:\n    file.write('{name}\\n')\n")
    return witness
