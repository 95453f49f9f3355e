"""A strict verdict's inputs in, a second opinion out, and how often the two disagree.

The opinion is formed by other code than the verdict: values in double precision without sympy where the verdict came from
sympy, sympy where a wrong answer was turned away by those values, plain string and number forms for the other types. It runs in a
worker, as the protocol `audit` of a job, on a sample of items (`chosen`), and never changes a verdict.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from harness.core.records import Answer, AnswerType, Status, Verdict

PROTOCOL = "audit"
SHARE = 0.05
"""Share of the items that evaluation and score audit."""


def chosen(item: str, share: float) -> bool:
    """Whether an item belongs to the audited share; depends on its id alone."""
    number = int.from_bytes(hashlib.sha256(item.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    return number < share * 2**64


def opinion(answer: Answer, extracted: str) -> bool | None:
    """Whether `extracted` is right in the second checker's eyes; None for no opinion."""
    if answer.type is AnswerType.LIST:
        return _elements(answer.golds, extracted)
    check = {AnswerType.CHOICE: _choice, AnswerType.EXPRESSION: _expression}.get(answer.type, _plain)
    found = [check(gold, extracted, answer) for gold in answer.golds]
    return True if True in found else None if None in found or not found else False


def _letters_only(text: str) -> str:
    return re.sub(r"\\(?:text|math)[a-z]*|[^A-Za-z0-9+-]", "", text).casefold()


def _choice(gold: str, extracted: str, answer: Answer) -> bool | None:
    """A lone letter, or the option's text by its letters and digits."""
    letters = re.findall(r"(?<![A-Za-z\\])[A-J](?![A-Za-z])", re.sub(r"\\math(?:bb|cal)\s*\{.\}", "", extracted))
    if letters:
        return "".join(sorted(set(letters))) == "".join(sorted(re.findall("[A-Z]", gold)))
    place = "ABCDEFGHIJ".find(gold)
    if not 0 <= place < len(answer.choices) or not _letters_only(extracted):
        return None
    if _letters_only(answer.choices[place]) == _letters_only(extracted):
        return True
    same = _double(answer.choices[place]), _double(extracted)
    return None if None in same else same[0] == same[1]


_NUMBER = re.compile(r"\s*\\?\$?\s*([-+]?[\d.,]*\d[\d.,]*(?:e[-+]?\d+)?)(.*)", re.DOTALL)
_UNIT = re.compile(r"(?:\\[%$ ]|[%~^{}]|\\(?:text|math[a-z]*|circ)(?![a-z])|[A-Za-z ]|(?<=[\^{])\d|\.$)*")


def _double(text: str) -> float | None:
    """The number that is left when commas, dollars and a trailing unit are taken away."""
    found = _NUMBER.fullmatch(text.strip("$ "))
    if not found or not _UNIT.fullmatch(found[2].strip()):
        return None
    try:
        return float(found[1].replace(",", "").rstrip("."))
    except ValueError:
        return None


def _plain(gold: str, extracted: str, answer: Answer) -> bool | None:
    """Numbers as doubles, everything else by letters and digits."""
    wanted, given = _double(gold), _double(extracted)
    if wanted is None or given is None:
        if answer.type is AnswerType.TEXT:
            return _letters_only(gold) == _letters_only(extracted)
        return None
    if answer.precision is not None:
        return abs(wanted - given) <= 0.5 * 10.0**-answer.precision * (1 + 1e-9)
    return abs(wanted - given) <= 1e-6 * abs(wanted) if answer.type is AnswerType.FLOAT else wanted == given


def _elements(golds: tuple[str, ...], extracted: str) -> bool | None:
    parts = [_double(p) for p in re.sub(r"[\[\](){}\\]", "", extracted).split(",")]
    wanted = [_double(g) for g in golds]
    return None if None in wanted or None in parts else parts == wanted


def _expression(gold: str, extracted: str, answer: Answer) -> bool | None:
    from harness.core.errors import attempt
    from rewards.verifier.answers import compare, normal, symbolic

    left, right = (normal.split_unit(normal.clean(t))[0] for t in (gold, extracted))
    found = compare.equal(left, right)
    if found is not False:
        return found
    trees, error = attempt(lambda: (symbolic.read(left), symbolic.read(right)))
    return False if error is not None else symbolic.same(*trees)


@dataclass(slots=True)
class Tally:
    """How often verdict and second opinion part. `rate` is disagreements per item that has an opinion."""

    audited: int = 0
    opinions: int = 0
    disagreements: list[str] = field(default_factory=list)

    def add(self, item: str, verdicts: Mapping[str, Verdict]) -> None:
        """Count an item that was graded under `strict` and `audit`; others are passed over."""
        verdict, second = verdicts.get("strict"), verdicts.get(PROTOCOL)
        if verdict is None or second is None:
            return
        self.audited += 1
        if Status.UNGRADED in (verdict.status, second.status):
            return
        self.opinions += 1
        if verdict.status is not second.status:
            self.disagreements.append(item)

    @property
    def rate(self) -> float | None:
        return len(self.disagreements) / self.opinions if self.opinions else None

    def metrics(self) -> dict[str, float | int | None]:
        """For results: `value` is the rate of disagreement, `n` the samples that have an opinion, of `audited` ones."""
        return {
            "value": self.rate,
            "n": self.opinions,
            "audited": self.audited,
            "disagreements": len(self.disagreements),
        }


def tally(items: Iterable[tuple[str, Mapping[str, Verdict]]]) -> Tally:
    """The tally of (item, verdicts by protocol)."""
    found = Tally()
    for item, verdicts in items:
        found.add(item, verdicts)
    return found
