"""Two results, exactly or within a tolerance: every place where they differ."""

import base64
import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

ABSOLUTE = 0.1
RELATIVE = 0.15
"""Two numbers are close where they differ by at most ABSOLUTE + RELATIVE * the larger magnitude."""
FLIPPED = 0.2
"""Packed outcomes of images are close where at most this share of their bits differ."""
JUMPING = ("l2", "validation", "p_null", "p_fa", "p_md", "flagged")
"""Fields that jump where a rounding error tips a choice: a penalty on a grid and the accuracy on few images that chose
it, a p value of few outcomes, and what a threshold flags at chance."""
PACKED = "correct"
"""How the names of fields begin that hold packed outcomes: base64 of numpy.packbits."""
FREE = re.compile(r"\b[0-9a-f]{64}\b|\bp [0-9.]+")
"""What a tolerance leaves out of texts: the sha256 of bytes, and p values."""
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def differences(before: Any, after: Any, *, exact: bool, at: str = "", field: str = "") -> Iterator[str]:
    """Every place where two JSON values differ, as `path: before, now after`.

    Not exact: numbers, those in texts too, and packed outcomes may differ as far as the constants above say, JUMPING
    fields and sha256 as they please; the rest, names, lengths, words, true and false, may not.

    Args:
        before: The recorded value.
        after: The value of now.
        exact: Whether any difference counts.
        at: Path of the values.
        field: Name of the innermost field that holds them.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(after.keys() - before.keys())]:
            path = f"{at}.{name}".lstrip(".")
            if name not in before or name not in after:
                yield f"{path}: {'recorded, gone now' if name in before else 'not recorded'}"
            else:
                holder = field if field.startswith(PACKED) else name
                yield from differences(before[name], after[name], exact=exact, at=path, field=holder)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, exact=exact, at=f"{at}[{index}]", field=field)
    elif (before != after or type(before) is not type(after)) and (exact or not _close(before, after, field)):
        yield f"{at}: {_short(before)}, now {_short(after)}"


def _close(before: Any, after: Any, field: str) -> bool:
    if field in JUMPING:
        return type(before) is type(after)
    if isinstance(before, bool) or isinstance(after, bool):
        return False
    if isinstance(before, int | float) and isinstance(after, int | float):
        return abs(before - after) <= ABSOLUTE + RELATIVE * max(abs(before), abs(after))
    if not isinstance(before, str) or not isinstance(after, str):
        return False
    if field.startswith(PACKED):
        one, other = base64.b64decode(before), base64.b64decode(after)
        flipped = sum((a ^ b).bit_count() for a, b in zip(one, other, strict=False))
        return len(one) == len(other) and flipped <= FLIPPED * 8 * len(one)
    before, after = FREE.sub("", before), FREE.sub("", after)
    if NUMBER.split(before) != NUMBER.split(after):
        return False
    pairs = zip_longest(NUMBER.findall(before), NUMBER.findall(after), fillvalue="nan")
    return all(_close(float(one), float(other), field) for one, other in pairs)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
