"""How generated tasks are made: an endless stream of candidate items, cut into splits that share nothing.

In: a split's name and a function that draws one candidate from a `random.Random` of its own. Out: the split's items, the
same on every machine and Python version. The item space is partitioned by a hash of what must not leak (the canonical
question, the chart): a candidate belongs to one split whatever the seed, so a split can never hold an item of another.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from harness.core.errors import DataError

SHARES: Mapping[str, int] = {"test": 10, "validation": 5, "train": 40, "expert": 45}
"""Percent of the item space that a split owns."""
SIZES: Mapping[str, int] = {"test": 200, "validation": 100, "train": 3000, "expert": 3600}
_PATIENCE = 2000

Item = TypeVar("Item")


def bucket(content: str) -> str:
    """The split that owns `content`: by hash, so independent of seeds, sizes and order."""
    place = int.from_bytes(hashlib.sha256(content.encode()).digest()[:8], "big") % 100
    for split, share in SHARES.items():
        if place < share:
            return split
        place -= share
    raise AssertionError("shares add up to 100")


def draw_items(
    task: str,
    split: str,
    draw: Callable[[random.Random, int], Item],
    owner: Callable[[Item], str],
    key: Callable[[Item], Any],
    sizes: Mapping[str, int] = SIZES,
) -> Iterator[Item]:
    """`sizes[split]` different items of `split`.

    `draw(stream, i)` proposes item i; a proposal whose `owner` text belongs to another split, or whose `key` was
    taken, is drawn again. The stream is seeded by task and split only.
    """
    stream = random.Random(f"{task}/{split}")
    seen: set[Any] = set()
    for number in range(sizes[split]):
        for _ in range(_PATIENCE):
            item = draw(stream, number)
            if bucket(owner(item)) == split and key(item) not in seen:
                break
        else:
            raise DataError(f"{task}-{split} has fewer than {number + 1} different items", "widen its ranges")
        seen.add(key(item))
        yield item
