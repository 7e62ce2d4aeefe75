"""Stable seeds: one number a purpose, so that no step depends on what was drawn before it."""

import hashlib
import json


def derive(seed: int, *words: str | int) -> int:
    """A seed in [0, 2**63) for one purpose: `derive(3, "batches", epoch)`.

    The first 8 bytes of a sha256, so equal on every machine and release; different words give unrelated streams.
    """
    text = json.dumps([seed, *words], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
