"""Ids: a prefix and 26 characters of base 32 (48 bits of milliseconds, 80 random bits), sortable by time."""

import secrets
import threading
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

_lock = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """A new id such as `job_01k...`; in one process each sorts after the one before it."""
    global _last
    with _lock:
        fresh = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
        # Within a millisecond, and when the clock goes back, count on from the last.
        _last = fresh if fresh >> 80 > _last >> 80 else _last + 1
        value = _last
    return prefix + "_" + "".join(ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))
