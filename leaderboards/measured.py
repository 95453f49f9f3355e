"""The spread of paired differences that finished runs show: what a new study can be planned with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from leaderboards.blocks import blocks
from leaderboards.board import Choice, collect
from leaderboards.groups import Read, groups
from leaderboards.stats.differences import matched
from leaderboards.stats.power import Spread
from leaderboards.table import same_questions


def spreads(out: Path, choice: Choice) -> Iterator[tuple[str, int, list[Spread]]]:
    """Task, number of questions, and the spread of every row's difference to the baseline of its block."""
    keyed: dict[tuple[str, str, str], list[Read]] = defaultdict(list)
    for member in collect(out, choice).evaluations:
        keyed[same_questions(member.results)].append(member)
    for key, members in sorted(keyed.items()):
        found = []
        rows, _ = groups(members)
        for block in blocks(rows, choice.baseline):
            for group in block.groups:
                if block.base is None or group is block.base or group.ids != block.base.ids:
                    continue
                if block.base.trained and not group.trained:
                    continue  # between an untrained policy and a trained one far more questions change sides
                gaps = matched([group.scores], [block.base.scores])
                if gaps is not None and gaps[0].shape[1] > 1:
                    found.append(Spread.of(gaps[0]))
        if found:
            yield f"{key[0]} ({key[1]})", len(members[0].scores.ids), found
