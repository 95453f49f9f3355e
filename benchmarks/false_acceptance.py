"""Hunts for wrong answers that the verifier accepts: golds from files and generators, mutations that are wrong by construction.

    python -m benchmarks.false_acceptance --pairs 100000 [--golds FILE.jsonl ...]

FILE holds lines with `answer` (and optionally `answer_type`, `choices`), such as the verifier's cases. Prints the pairs tried
and accepted by answer type and mutation, and every accepted one. Exit code 1 when any was accepted.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.core.records import Answer, AnswerType
from rewards.verifier.grade import grade
from rewards.verifier.jobs import Job

Mutation = Callable[[str, random.Random], str | None]


def _digit(gold: str, draw: random.Random) -> str | None:
    """Another first digit of one number: the value moves by more than rounding."""
    places = [m.start() for m in re.finditer(r"(?<![\d.])[1-9]", gold)]
    if not places:
        return None
    place = draw.choice(places)
    digit = draw.choice([d for d in "123456789" if d != gold[place]])
    return gold[:place] + digit + gold[place + 1 :]


def _sign(gold: str, draw: random.Random) -> str | None:
    return None if re.fullmatch(r"[-+\s0.,]*", gold) or "\\pm" in gold else f"-({gold})"


RELATIONS = (">", "<", r"\ne", r"\ge")
HEDGES = ("or", "or maybe", "unless it is", "but perhaps")
MUTATIONS: dict[str, Mutation] = {
    "digit": _digit,
    "sign": _sign,
    "term added": lambda g, d: f"{g} + {d.randint(1, 99)}",
    "scale word": lambda g, d: (
        f"{g} \\text{{ {d.choice(['thousand', 'million people', 'dozen', 'lakh', 'hundred men'])}}}"
    ),
    "fraction word": lambda g, d: f"{g} \\text{{ {d.choice(['and a half', 'tenths', 'hundredths', 'thirds of it'])}}}",
    "hedge": lambda g, d: (
        f"{g} \\text{{ {d.choice(['or', 'or maybe', 'unless it is', 'but perhaps'])} }} {d.randint(1000, 9999)}"
    ),
    "denied": lambda g, d: f"\\text{{{d.choice(['not', 'anything but', 'is not'])} }} {g}",
    "coefficient": lambda g, d: f"{d.randint(2, 9)}x = {g}",
    "other relation": lambda g, d: f"x {d.choice(RELATIONS)} {g}",
    "one more": lambda g, d: f"{g}, {d.randint(1000, 9999)}",
    "power": lambda g, d: f"({g})^{{{d.randint(3, 5)}}} + 7",
    "words": lambda g, d: (
        f"{g} \\text{{ {d.choice(['is wrong, the answer is three', 'was my first guess', 'if I am right'])}}}"
    ),
}
"""Each gives an answer that is wrong whatever the gold, or None where it might not be."""
_NUMERIC = re.compile(r"[-+]?\d+(?:\.\d+)?")
_FORMULA = re.compile(r"[\d\s+\-x^\\a-z{}]*(?:frac|sqrt|pi|x)[\d\s+\-x^\\a-z{}]*")


def golds(files: list[Path], draw: random.Random) -> Iterator[Answer]:
    """Answers of the files, then without end generated ones of every type."""
    for file in files:
        for line in file.read_text("utf-8").splitlines():
            row = json.loads(line)
            gold = row.get("answer")
            texts = tuple(map(str, gold)) if isinstance(gold, list) else (str(gold),)
            kind = AnswerType(row.get("answer_type") or ("integer" if _NUMERIC.fullmatch(texts[0]) else "expression"))
            if kind in (AnswerType.INTEGER, AnswerType.FLOAT, AnswerType.EXPRESSION) and texts[0].strip():
                yield Answer(type=kind, golds=texts[:1], precision=row.get("precision"))
    while True:
        number = draw.randint(2, 10 ** draw.randint(1, 6))
        other = draw.randint(2, 99)
        yield Answer(type=AnswerType.INTEGER, golds=(str(draw.choice([1, -1]) * number),))
        for text in (
            f"\\frac{{{number}}}{{{number + other}}}",
            f"{other}\\sqrt{{{draw.choice([2, 3, 5, 7])}}}",
            f"({-other}, {number})",
            f"[{other}, {other + number})",
            f"\\{{{other}, {other + 1}, {number + 200}\\}}",
            f"{other}x^2 + {number}x - 1",
            f"{number}\\pi",
        ):
            yield Answer(type=AnswerType.EXPRESSION, golds=(text,))


def wrong(answer: Answer, name: str, draw: random.Random) -> str | None:
    """A mutation of an answer's gold; None where it could be right."""
    gold = answer.golds[0]
    numeric = _NUMERIC.fullmatch(gold.strip())
    if re.search(r"(?<![\d.])[-+]?0(?:\.0*)?\s*[)\]}\\]*$", gold):
        return None  # nothing times a million is nothing
    by_value = name in ("sign", "digit", "power", "term added", "coefficient")
    if by_value and answer.type is AnswerType.EXPRESSION and not numeric and not _FORMULA.fullmatch(gold):
        return None  # words and structures, where the mutation may mean nothing
    if name == "other relation" and not numeric:
        return None
    return MUTATIONS[name](gold, draw)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--golds", type=Path, nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args(words)
    draw = random.Random(flags.seed)
    tried, accepted = Counter[tuple[str, str]](), list[tuple[str, str, str]]()
    for answer in golds(flags.golds, draw):
        for name in MUTATIONS:
            text = wrong(answer, name, draw)
            if text is None:
                continue
            response = f"So the final answer is \\boxed{{{text}}}."
            verdict = grade(Job(answer=answer, response=response))["strict"]
            tried[answer.type.value, name] += 1
            if verdict.correct:
                accepted.append((name, answer.golds[0], text))
        if tried.total() >= flags.pairs:
            break
    for (kind, name), count in sorted(tried.items()):
        print(f"{count:7d}  {kind:10s}  {name}")
    print(f"{tried.total()} wrong answers tried, {len(accepted)} accepted")
    for name, gold, text in accepted[:40]:
        print(f"accepted ({name}): gold {gold!r}, answer {text!r}")
    return int(bool(accepted))


if __name__ == "__main__":
    sys.exit(main())
