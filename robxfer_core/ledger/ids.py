"""Ids: a prefix and 26 characters of base 32 (48 bits of milliseconds, 80 random bits), sortable by time."""

import secrets
import threading
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32, in small letters."""

_lock = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """Create an id such as `job_01k...`.

    Args:
        prefix: Three letters that say what the id is of, such as `job`.

    Returns:
        An id that sorts after every id that this process created before.
    """
    global _last
    with _lock:
        value = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
        # Within one millisecond, and when the clock is set back, count on from the last id.
        _last = value = value if value >> 80 > _last >> 80 else _last + 1
    return prefix + "_" + "".join(ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))
