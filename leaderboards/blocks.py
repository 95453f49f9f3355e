"""Rows that may stand beside each other: one start policy under one recipe, made under the same conditions.

In: the rows of one task. Out: blocks with a title that says what is different from the first block of that policy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.config import digest
from leaderboards.conditions import differing
from leaderboards.groups import Group

OUTSIDE = "not trained here"


@dataclass(frozen=True, slots=True)
class Block:
    """`key` is the same for the same policy, recipe and conditions on every task; `base`: what rows are compared with."""

    key: str
    title: str
    groups: tuple[Group, ...]
    base: Group | None


def blocks(groups: Sequence[Group], baseline: str) -> list[Block]:
    """Trained rows by model, recipe and conditions, each with the model's untrained rows; outside rows last."""
    found: dict[tuple[str, bool, str, str], list[Group]] = defaultdict(list)
    for group in groups:
        if group.trained and not group.outside:
            found[group.model, group.paper, "" if group.paper else group.setting, _made(group)].append(group)
    for group in groups:
        if not group.trained and not group.outside:
            places = [k for k in found if k[0] == group.model and k[3] == _made(group)]
            for key in places or [(group.model, False, "", _made(group))]:
                found[key].append(group)
    outside: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        if group.outside:
            outside[_made(group)].append(group)
    named = _named(found, groups, baseline)
    for number, (made, block) in enumerate(sorted(outside.items(), key=lambda b: -len(b[1]))):
        first = next(iter(sorted(outside.values(), key=lambda b: -len(b))))[0]
        more = differing(block[0].conditions, first.conditions) if number else ""
        title = OUTSIDE + (f"; {more}" if more else "")
        named.append(Block(f"outside {made}", title, tuple(block), _baseline(block, groups, baseline)))
    return named


def _made(group: Group) -> str:
    return digest(group.conditions)


def _named(found: dict[tuple[str, bool, str, str], list[Group]], groups: Sequence[Group], baseline: str) -> list[Block]:
    """Blocks of one model together, the one with most rows first."""
    named: list[Block] = []
    for model in dict.fromkeys(k[0] for k in sorted(found)):
        keys = sorted((k for k in found if k[0] == model), key=lambda k: (k[1], -len(found[k]), k))
        first = found[keys[0]][0]
        for key in keys:
            block = found[key]
            title = _title(model, block, key[1])
            if key != keys[0] and (more := _difference(block[0], first, key)):
                title += f"; {more}"
            name = "/".join(map(str, key))
            named.append(Block(name, title, tuple(block), _baseline(block, groups, baseline)))
    return named


def _title(model: str, block: Sequence[Group], paper: bool) -> str:
    recipes = sorted({g.run.get("recipe", "") for g in block if g.trained} or {block[0].run.get("recipe", "")})
    return f"{model}, recipe {'/'.join(recipes)}{' with the values of each method’s paper' if paper else ''}"


def _difference(group: Group, first: Group, key: tuple[str, bool, str, str]) -> str:
    """In words, from the conditions and the settings of both; the recipe's hash where their settings are not at hand."""
    parts = [text] if (text := differing(group.conditions, first.conditions)) else []
    ours, theirs = group.config, first.config
    if key[2] and group.setting != first.setting and not key[1]:
        changed = [k for k in dict.fromkeys([*ours, *theirs]) if ours.get(k) != theirs.get(k)]
        said = [f"{k} {ours.get(k)} instead of {theirs.get(k)}" for k in changed[:3]]
        if len(changed) > 3:
            said.append(f"and {len(changed) - 3} more settings")
        parts += said if ours and theirs and said else [f"other settings ({key[2][:8]})"]
    return ", ".join(parts)


def _baseline(block: Sequence[Group], groups: Sequence[Group], baseline: str) -> Group | None:
    """The block's own row of that name, else the only one of its model, else the only one of the table."""
    for among in (block, [g for g in groups if g.model == block[0].model], groups):
        named = [g for g in among if g.name == baseline]
        if len(named) == 1 or (named and among is block):
            return named[0]
    return None
