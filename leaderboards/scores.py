"""The samples of one finished evaluation as scores per question: read once, checked against what was written.

In: a finished evaluation. Out: item ids and, for each protocol, the mean score of each item. A log that does not give the
accuracy of its results.json is an error that names the folder.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import RunError
from harness.core.runs import SAMPLES, Finished


@dataclass(frozen=True, slots=True)
class ItemScores:
    """`ids`, sorted, and per protocol the mean of the samples of each item, float64 [n] in [0, 1]; `single`: one each.
    `unmarked`: share of samples in which the strict rule found no marked answer (the headline's rule where it is absent)."""

    ids: tuple[str, ...]
    by_protocol: Mapping[str, NDArray[np.float64]]
    single: bool
    unmarked: float


def read_scores(member: Finished) -> ItemScores:
    """The scores under the headline's protocol and under each other one that every sample was graded by."""
    headline = str(member.results["protocol"])
    right: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    count = unmarked = 0
    for row in member.samples():
        count += 1
        unmarked += (row.get("verdicts") or {}).get("strict", row).get("extracted") is None
        item = str(row["id"])
        right[headline][item].append(row["verdict"] == "correct")
        for protocol, verdict in row.get("verdicts", {}).items():
            if protocol != headline:
                right[protocol][item].append(verdict["status"] == "correct")
    ids = tuple(sorted(right[headline]))
    found = {
        protocol: np.array([sum(items[i]) / len(items[i]) for i in ids])
        for protocol, items in right.items()
        if sum(map(len, items.values())) == count
    }
    claimed = member.results["metrics"]["accuracy"]["value"]
    if len(ids) != member.results["n"] or abs(float(found[headline].mean()) - claimed) > 1e-9:
        raise RunError(f"{member.folder}: {SAMPLES} does not give the accuracy of results.json", "evaluate it again")
    return ItemScores(ids, found, count == len(ids), unmarked / count)
