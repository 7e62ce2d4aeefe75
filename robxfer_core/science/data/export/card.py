"""README.md of an exported data set: what it is and how it was made."""

import json
from pathlib import Path
from typing import Any

from robxfer_core import __version__
from robxfer_core.science.data.artifact import Card

WORDS = {
    "standard": "The images as they are, with their own labels.",
    "antirobust": "Each image was moved by targeted PGD towards a class of a generator, and is labelled with it.",
    "relabel_only": "A control: unchanged images with the labels of an antirobust set.",
    "noise": "A control: images moved at random as far as an antirobust set's, with that set's labels.",
    "stego": "Covers (label 0), and the same images with a hidden message (label 1); a pair stays in one split.",
    "robust": "Training images that a robust generator represents as it does the originals, with their labels.",
    "nonrobust": "Training images that a standard generator represents as it does the originals, with their labels.",
}
FILES = {
    "folder": "`images.zip`: SPLIT/CLASS/NUMBER.png. Folders begin with the label's number.",
    "npz": "`dataset.npz`: x_train, y_train, x_test, y_test and classes; images [n, H, W] or [n, H, W, 3].",
    "parquet": "`data/SPLIT-*.parquet`: `datasets.load_dataset(FOLDER)` opens this folder.",
    "webdataset": "`SPLIT-*.tar`: NUMBER.png, NUMBER.cls (the label), NUMBER.json.",
}


def write_card(folder: Path, about: Card, made: dict[str, Any], key: str, form: str, *, lossless: bool) -> None:
    """Write README.md. `made` is the result of the job, of this key, that made the set: threat, generator, fooling."""
    pixels = (
        "Pixels are exactly those of the data set."
        if lossless
        else "PNG holds 8 bits a channel: the set's float16 pixels are rounded to the nearest 1/255 there, which can "
        "undo a part of a small perturbation. `exact.npz` has them as they are, in [0, 1]."
    )
    own = "" if about.variant == "standard" else " The images' own classes are kept beside, as `original`."
    counts = ", ".join(f"{part.n} {split}" for split, part in about.splits.items())
    shape = " x ".join(map(str, about.shape))
    front = ""
    if form == "parquet":  # the Hub and `load_dataset` read which file is which split from here
        files = "\n".join(f"  - split: {split}\n    path: data/{split}-*" for split in about.splits)
        front = f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}\n---\n"
    facts = {"dataset.json": about.model_dump(mode="json", exclude={"splits", "classes"}), "made by": made}
    text = f"""{front}# {about.name} ({about.variant})

{WORDS.get(about.variant, "A constructed variant.")}{own}

{counts} images of {shape} (channels, height, width), {len(about.classes)} classes.

{FILES[form]} {pixels}

Labels: {json.dumps(dict(enumerate(about.classes)), ensure_ascii=False)}

How it was made, by the job of key {key} (exported by robxfer {__version__}):

```json
{json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False)}
```
"""
    (folder / "README.md").write_text(text)
