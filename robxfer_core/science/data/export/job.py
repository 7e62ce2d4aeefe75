"""Kind `export_dataset`."""

import json

from robxfer_core.jobs.export_dataset import ExportDataset, ExportDatasetResult, ExportedData
from robxfer_core.jobs.run import Inputs, Run
from robxfer_core.science.data.artifact import load, read_card

from .card import write_card
from .formats import WRITERS, SplitImages, write_npz

SPLITS = ("train", "test")


def export_dataset(spec: ExportDataset, inputs: Inputs, run: Run) -> ExportDatasetResult:
    """Write both splits in the format, and README.md. `lossless` says whether the format holds the pixels exactly."""
    source = inputs.one("dataset")
    about = read_card(source.path)
    splits: list[SplitImages] = []
    for name in SPLITS:
        data = load(source.path, name)
        original = None if data.original is None else data.original.numpy()
        splits.append(SplitImages(name, data.x.numpy(), data.y.numpy(), original))
    total = sum(len(split.y) for split in splits)
    done = 0

    def progress(images: int) -> None:
        nonlocal done
        done += images
        run.progress(done, total, "images")

    WRITERS[spec.format](run.out, splits, about.classes, spec.shard, progress)
    lossless = about.dtype == "uint8" or spec.format == "npz"
    if not lossless:
        write_npz(run.out / "exact.npz", splits, about.classes)
    made = json.loads((source.path / "result.json").read_text())
    write_card(run.out, about, made, source.key, spec.format, lossless=lossless)
    files = sorted(str(path.relative_to(run.out)) for path in run.out.rglob("*") if path.is_file())
    return ExportDatasetResult(
        format=spec.format,
        lossless=lossless,
        data=ExportedData(name=about.name, variant=about.variant, key=source.key),
        images={name: len(split.y) for name, split in zip(SPLITS, splits, strict=True)},
        files=len(files),
        bytes=sum((run.out / name).stat().st_size for name in files),
    )
