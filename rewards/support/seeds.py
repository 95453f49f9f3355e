"""Seeds from what a draw belongs to (run, step, prompt ...): the same on every machine and in every process.

Two functions, because numbers of recorded runs hang on both: `stable_hash` seeds noise of methods, `stable_seed` streams of
sampling and shuffling.
"""

from __future__ import annotations

import hashlib


def stable_hash(*parts: object) -> int:
    """A 63-bit number from printable parts.

    >>> stable_hash("noise", 0, "p1#2") == stable_hash("noise", 0, "p1#2") != stable_hash("noise", 1, "p1#2")
    True
    """
    return _top(hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest())


def stable_seed(*parts: object) -> int:
    """A 63-bit seed from printable parts, another one than `stable_hash` gives."""
    return _top(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:8])


def _top(digest: bytes) -> int:
    return int.from_bytes(digest, "big") >> 1
