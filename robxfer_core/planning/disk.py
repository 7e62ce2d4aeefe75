"""Bytes that a job leaves in the store, to leading order."""

from robxfer_core.jobs.base import Job
from robxfer_core.jobs.shapes import Facts
from robxfer_core.spec.archs import weights

from .flops import UNKNOWN_IMAGES, UNKNOWN_SIDE

SMALL = 64 * 1024
REPORT = 4 << 20
FILE = 200e6
"""Of a file to be fetched, whose size the server will tell: about that of a published ResNet-50 checkpoint."""


def bytes_left(job: Job, own: Facts) -> float:
    """Bytes of the job's artifact, from the facts of its result."""
    match job.ARTIFACT:
        case "dataset":
            return images(own) * (pixels(own) * (2 if own.floats else 1) + 8)
        case "export":  # where a format has 8 bits a channel, float16 pixels are beside it as they are
            rounded = own.floats and getattr(job, "format", "npz") != "npz"
            return images(own) * (pixels(own) * (3 if rounded else 2 if own.floats else 1) + 8) + SMALL
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


def pixels(own: Facts) -> int:
    """Values of an image."""
    return (own.channels or 3) * (own.side or UNKNOWN_SIDE) ** 2


def images(own: Facts) -> int:
    return (own.train or UNKNOWN_IMAGES) + (own.test or 0)
