"""Arrays of an .npz of anybody's making: first the headers, then the numbers, mapped from a file of ours."""

import math
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from robxfer_core.spec.datasets import BadSource, npy_header

from .archive import open_zip, read_member
from .guard import RATIO, TOTAL_BYTES
from .refusal import BadUpload

TYPES = frozenset({"|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8"})


def read(path: Path, names: tuple[str, ...], scratch: Path) -> dict[str, np.ndarray]:
    """The arrays of these names, of integers, read-only. Raises BadUpload.

    Nothing is unpickled, whatever a header asks for; an array takes the bytes that its header says and no more.
    """
    takes = f"the arrays {', '.join(names)}"
    try:
        with path.open("rb") as file, open_zip(file) as archive:
            entries = {entry.orig_filename: entry for entry in archive.infolist()}
            if len(entries) != len(archive.infolist()) or len(entries) > 64:
                raise BadUpload("the file", f"{len(archive.infolist())} arrays, some of one name or too many", takes)
            lacking = [name for name in names if f"{name}.npy" not in entries]
            if lacking:
                raise BadUpload("the file", f"no array {lacking[0]}", takes)
            return {name: _array(archive, entries[f"{name}.npy"], name, scratch) for name in names}
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, BadSource) as error:
        raise BadUpload("the file", f"a broken .npz ({error})", takes) from error


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, scratch: Path) -> np.ndarray:
    with archive.open(entry) as member:
        descr, shape, fortran = npy_header(member, name)
        start = member.tell()
    if descr not in TYPES or fortran:
        raise BadUpload(name, f"{descr} {list(shape)}{' in Fortran order' if fortran else ''}", "integers, row by row")
    size = math.prod(shape) * int(descr[2:])
    if min(shape, default=-1) < 0 or len(shape) > 4 or start + size != entry.file_size:
        got = f"{list(shape)} of {descr} in {entry.file_size} bytes"
        raise BadUpload(name, got, "an array with the bytes that its shape needs")
    if size > min(TOTAL_BYTES, RATIO * max(1 << 20, entry.compress_size)):
        raise BadUpload(name, f"{size} bytes out of {entry.compress_size}", f"at most {RATIO} times as many")
    kept = scratch / f"{name}.npy"  # one of our names
    with kept.open("wb") as file:
        for piece in read_member(archive, entry, lambda name, size: None):
            file.write(piece)
    return np.memmap(kept, np.dtype(descr), "r", offset=start, shape=shape) if size else np.empty(shape, descr)
