"""What an archive of `[SET/]train/CLASS/IMAGE` holds, judged by its names alone."""

import os
from dataclasses import dataclass

from robxfer_core.spec.datasets import IMAGE_SUFFIXES

from .guard import NameGuard
from .refusal import BadUpload

CLASSES = 10_000
SPLITS = ("train", "test", "val")
LEFT_OUT = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
UNSAFE = frozenset("<>&\"'`\\")
"""Nowhere in a class's name, which reports and pages show."""


@dataclass(frozen=True)
class FolderLayout:
    """The images of a set, by their names in the archive."""

    images: dict[str, tuple[str, str]]
    """Split, `train` or `test`, and class."""
    classes: list[str]
    """Of the training images, sorted."""
    others: int
    """Files that are passed by: outside the splits, hidden, or of a split that is not used."""


def read_layout(names: NameGuard) -> FolderLayout:
    """Find the splits and the classes; `val` serves where there is no `test`. Raises BadUpload."""
    found: dict[str, tuple[str, str]] = {}
    tops: set[str] = set()
    for name in names.files:
        top, split, kind = _place(name)
        if split:
            tops.add(top)
            found[name] = split, kind
    splits = {split for split, _ in found.values()}
    if "train" not in splits or len(tops) != 1:
        got = f"{len(found)} images under {', '.join(sorted(splits)) or 'no split'} in {len(tops)} sets"
        raise BadUpload("the archive", got, "train/CLASS/IMAGE, with test or val beside train, in at most one folder")
    tests = "test" if "test" in splits else "val"
    images = {
        name: ("train" if split == "train" else "test", kind)
        for name, (split, kind) in found.items()
        if split in ("train", tests)
    }
    classes = {kind for split, kind in images.values() if split == "train"}
    _check_classes(classes, {kind for _, kind in images.values()} - classes)
    (top,) = tops
    _check_empty(names.folders, {(top, split, kind) for split, kind in found.values()})
    return FolderLayout(images, sorted(classes), len(names.files) - len(images))


def _place(name: str) -> tuple[str, str, str]:
    """(folder of the set, split, class) of an image; the split is empty for a file that is passed by."""
    parts = name.split("/")
    if any(part.startswith(".") or part.lower() in LEFT_OUT for part in parts):
        return "", "", ""
    image = os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
    if len(parts) in (3, 4) and parts[-3] in SPLITS:
        if not image:
            raise BadUpload(name, "a file that is no image by its name", ", ".join(sorted(IMAGE_SUFFIXES)))
        return "/".join(parts[:-3]), parts[-3], parts[-2]
    if image and (parts[0] in SPLITS or (len(parts) > 1 and parts[1] in SPLITS)):
        raise BadUpload(name, "an image outside a class's folder", "train/CLASS/IMAGE, test/CLASS/IMAGE (or val)")
    return "", "", ""


def _check_classes(classes: set[str], unknown: set[str]) -> None:
    for name in sorted(classes | unknown):
        if len(name) > 100 or name != name.strip() or UNSAFE & set(name):
            takes = f"up to 100 characters, without {' '.join(sorted(UNSAFE))}"
            raise BadUpload(name, "the name of a class", takes)
    if unknown:
        raise BadUpload("test", f"the class {sorted(unknown)[0]}", "classes that train has")
    if len(classes) > CLASSES:
        raise BadUpload("train", f"{len(classes)} classes", f"at most {CLASSES}")


def _check_empty(folders: list[str], held: set[tuple[str, str, str]]) -> None:
    """held: (folder of the set, split, class) of those that have images."""
    for folder in folders:
        *top, split, kind = ["", *folder.split("/")]
        if split in ("train", "test") and not kind.startswith(".") and ("/".join(top[1:]), split, kind) not in held:
            raise BadUpload(folder, "a class without an image", "at least one image a class")
