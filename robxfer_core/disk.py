"""Bytes that a job leaves in the store, to leading order."""

from .fit import Facts
from .flops import UNKNOWN_IMAGES, UNKNOWN_SIDE
from .spec.archs import weights
from .spec.job import MADE_SETS, Job

SMALL = 64 * 1024
REPORT = 4 << 20
FILE = 200e6
"""Of a file to be fetched, whose size the server will tell: about that of a published ResNet-50 checkpoint."""


def bytes_left(job: Job, own: Facts) -> float:
    """Bytes of the job's artifact, from the facts of its result."""
    match job.ARTIFACT:
        case "dataset":
            made = getattr(job, "kind", "") in MADE_SETS and getattr(job, "store", "float16") == "float16"
            pixels = (own.channels or 3) * (own.side or UNKNOWN_SIDE) ** 2
            return images(own) * (pixels * (2 if made else 1) + 8)
        case "features":
            return 4.0 * images(own) * (own.length or 512)
        case "model":
            return 4.0 * weights(own.arch, own.channels or 3, own.classes or 10) if own.arch else SMALL
        case "file":
            return FILE
        case "report":
            return REPORT
        case _:
            return SMALL


def images(own: Facts) -> int:
    return (own.train or UNKNOWN_IMAGES) + (own.test or 0)
