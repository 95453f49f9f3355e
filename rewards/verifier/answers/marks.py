"""A response in, its marks of a final answer with their places out, and which of them counts and why.

Marks are boxes (`\\boxed{..}`, `\\fbox`, `\\framebox`), answer tags (`<answer>..</answer>`) and statements ("the final
answer is ..", `####`, headings, see `statements`). Reasoning is removed first (`thinking`). The rule:

1. Marks are ranked by place, and the last one that holds something counts. An empty box behind a filled one is skipped.
2. Beside boxes and tags only leading statements rank (at the start of a line, or a sentence that names a *final* answer),
   and only if a value of the asked type can follow.
3. Boxes that only a comma, "and" or "or" parts are one answer, a list.
4. A box that is not closed takes the rest of the response and answers nothing; so does reasoning that is not closed.
5. `\\boxed` followed by neither a brace, a digit nor a lone letter is a mention of the command.
6. A box says all of its answer: of what stands in front of it only a minus sign and a denial ("not", `\\ne`) count.

Linear in the length of the response, of which the last MAX_RESPONSE characters are read.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.core.records import AnswerType
from rewards.verifier.answers import statements
from rewards.verifier.answers.thinking import Visible, visible

MAX_RESPONSE = 400_000
"""Characters read, counted from the end."""
LAST = 256
"""How many boxes and tags are kept, counted from the end."""


class Kind(enum.StrEnum):
    """What marks an answer."""

    BOX = "box"
    TAG = "tag"
    STATEMENT = "statement"
    HASHES = "hashes"


@dataclass(frozen=True, slots=True)
class Mark:
    """One mark: `start` and `end` are its places in the response, `content` is what it marks (None: never closed);
    `leading`: a statement at the start of a line."""

    kind: Kind
    start: int
    end: int
    content: str | None
    leading: bool = False


@dataclass(frozen=True, slots=True)
class Marks:
    """All marks by place, the one that counts (None where nothing is marked), and the reason in words."""

    found: tuple[Mark, ...]
    chosen: Mark | None
    why: str

    @property
    def answer(self) -> str | None:
        """The content of the mark that counts: "" where it is empty, None where nothing is marked."""
        return None if self.chosen is None else self.chosen.content


_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![a-zA-Z])[ \t\n]*")
_LONE = re.compile(r"(?:\d+(?:\.\d+)?|[A-Za-z])(?![A-Za-z0-9])")
_TAG = re.compile(r"<(answer|final_answer)>|</(answer|final_answer)>", re.IGNORECASE)
_BETWEEN = re.compile(
    r"(?:[\s$,;&~]|\\[,;:! ]|\\q?quad(?![a-z])|\\\\|\\[()\[\]]|(?:\\(?:text|mathrm)\s*\{)?\s*\b(?:and|or)\b\s*\}?|和|或|、)*"
)
_SIGN = re.compile(r"(?:^|[=$(\[{:\s])\s*[-−]\s*$")
_DENIAL = re.compile(r"(?:(?<![A-Za-z])not|n['’]t(?:\s+be)?|\\neq?|\\not\s*=|≠)[\s$*]*(?:\\[(\[])?\s*$", re.IGNORECASE)


def find(response: str, kind: AnswerType = AnswerType.EXPRESSION, choices: int = 0) -> Marks:
    """The marks of a response and the one that counts. `kind` decides what a leading statement must be able to say."""
    cut = max(0, len(response) - MAX_RESPONSE)
    seen = visible(response[cut:])
    if seen.open:
        return Marks((), None, "the response ends inside its reasoning")
    marks = _ranked(seen.text, kind)
    chosen, why = _choose(seen.text, marks)
    moved = {id(m): _moved(m, seen, cut) for m in marks}
    return Marks(tuple(moved.values()), _moved(chosen, seen, cut) if chosen else None, why)


def final_answer(response: str, kind: AnswerType, choices: int = 0) -> str | None:
    """The content of the mark that counts; "" when it is empty; None when nothing is marked."""
    return find(response, kind, choices).answer


def _moved(mark: Mark, seen: Visible, cut: int) -> Mark:
    return replace(mark, start=cut + seen.place(mark.start), end=cut + seen.place(mark.end))


# --- finding


def _ranked(text: str, kind: AnswerType) -> list[Mark]:
    """Boxes, tags and the statements that rank beside them, by place; marks inside a tag are read with the tag."""
    tags = list(_tags(text, kind))[-LAST:]
    boxes = [b for b in _boxes(text) if not any(t.start <= b.start < t.end for t in tags)]
    strong = sorted([*tags, *boxes], key=lambda m: m.start)
    start = strong[-1].end if strong else 0
    said = statements.statements(text[start:], kind is AnswerType.CHOICE)
    stated = [_statement(s, start) for s in said]
    if strong:
        stated = [m for m in stated if m.leading and sayable(m.content or "", kind)]
    return [*strong, *stated]


def _statement(statement: statements.Statement, offset: int) -> Mark:
    kind = Kind.HASHES if statement.hashes else Kind.STATEMENT
    return Mark(kind, offset + statement.value, offset + statement.end, statement.content, statement.leading)


def _tags(text: str, kind: AnswerType) -> Iterator[Mark]:
    start: re.Match[str] | None = None
    for match in _TAG.finditer(text):
        if match[1]:
            start = match
        elif start is not None:
            yield Mark(Kind.TAG, start.start(), match.end(), _inside(text[start.end() : match.start()], kind))
            start = None


def _inside(content: str, kind: AnswerType) -> str:
    """What a tag marks: the mark inside it that counts, else all of it."""
    content = content.strip()
    if not _BOX.search(content) and not statements.mentions(content):
        return content
    marks = [*_boxes(content)]
    stated = [_statement(s, 0) for s in statements.statements(content, kind is AnswerType.CHOICE)]
    chosen, _ = _choose(content, marks or stated)
    if chosen is None or not chosen.content or statements.doubtful(content[chosen.end :]):
        return content
    return chosen.content


def _boxes(text: str) -> Iterator[Mark]:
    """Outermost boxes by place. One pass over the braces finds every partner."""
    openings = list(_BOX.finditer(text))[-LAST:]
    partner = _partners(text, openings[0].start()) if openings else {}
    end = 0
    for match in openings:
        if match.start() < end:
            continue
        place = match.end()
        if text[place : place + 1] == "{":
            closing = partner.get(place)
            if closing is None:
                yield Mark(Kind.BOX, match.start(), len(text), None)
                continue
            end = closing + 1
            yield Mark(Kind.BOX, match.start(), end, _unboxed(text[place + 1 : closing]))
        elif lone := _LONE.match(text, place):
            yield Mark(Kind.BOX, match.start(), lone.end(), lone.group())


def _partners(text: str, start: int) -> dict[int, int]:
    """The closing brace of every opening one; escaped braces are text."""
    pairs: list[int] = []
    found: dict[int, int] = {}
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, start):
        if match.group() == "{":
            pairs.append(match.start())
        elif match.group() == "}" and pairs:
            found[pairs.pop()] = match.start()
    return found


def _unboxed(content: str) -> str:
    """`\\boxed{\\boxed{7}}` marks 7."""
    start, end = 0, len(content)
    partner = _partners(content, 0) if _BOX.match(content.lstrip()) else {}
    while True:
        while start < end and content[start].isspace():
            start += 1
        while end > start and content[end - 1].isspace():
            end -= 1
        inner = _BOX.match(content, start, end)
        if inner is None or partner.get(inner.end()) != end - 1:
            return content[start:end]
        start, end = inner.end() + 1, end - 1


# --- choosing


def _choose(text: str, marks: list[Mark]) -> tuple[Mark | None, str]:
    """The mark that counts and why."""
    if not marks:
        return None, "nothing is marked as the final answer"
    number = len(marks)
    if marks[-1].kind is Kind.BOX and marks[-1].content is None:
        return None, "the last box is not closed"
    while number > 1 and not (marks[number - 1].content or "").strip():
        number -= 1
    last = marks[number - 1]
    if not (last.content or "").strip():
        last = marks[-1]
    if last.content is None:
        return None, "the last box is not closed"
    if last.kind is Kind.BOX:
        last, joined = _list_of_boxes(text, marks[:number])
        if joined:
            return last, f"the last {joined} boxes are one list"
    if len(marks) == 1:
        return last, f"the only mark is a {last.kind}"
    if last.kind in (Kind.STATEMENT, Kind.HASHES) and any(m.kind in (Kind.BOX, Kind.TAG) for m in marks):
        return last, "a leading statement stands behind the last box or tag"
    return last, f"the last of {len(marks)} marks is a {last.kind}"


def _list_of_boxes(text: str, marks: list[Mark]) -> tuple[Mark, int]:
    """The last box with its sign, or the last boxes as one list, and how many they are (0 for one)."""
    last = marks[-1]
    first = len(marks) - 1
    while first > 0 and marks[first - 1].kind is Kind.BOX and marks[first - 1].content:
        between = text[marks[first - 1].end : marks[first].start]
        if len(between) > 60 or not re.search(r"[,;]|and|or|和|或|、", between) or not _BETWEEN.fullmatch(between):
            break
        first -= 1
    parts = [_signed(text, m) for m in marks[first:]]
    content = ", ".join(parts)
    joined = len(parts) if len(parts) > 1 else 0
    return replace(last, start=marks[first].start, content=content), joined


def _signed(text: str, mark: Mark) -> str:
    """`-\\boxed{5}` marks -5; `not \\boxed{5}` marks no 5."""
    content = mark.content or ""
    before = text[max(0, mark.start - 16) : mark.start]
    if content and _DENIAL.search(before):
        return rf"\text{{not }} {content}"
    return f"-{content}" if content and _SIGN.search(before) and content[0] in "0123456789\\." else content


_LATIN = r"[A-Za-z]"
_NUMERIC = re.compile(
    r"(?:[-+−±~≈(\[{*$¥€£ ]|\\[$(\[{]|\\(?:text|mathrm|mathbf|textbf)\s*\{|[a-zA-Z]\s*=|US)*"
    r"\s*(?:[\d.]|\\[dt]?frac|\\sqrt|\\pi|√|π)"
)
_LETTERED = re.compile(
    r"(?:[(\[{*$ ]|\\(?:text|mathrm|mathbf|textbf|boxed)\s*\{|\\[(\[]|option\s|choice\s)*[A-Ja-j](?![A-Za-z'’])"
)
_FORMULAIC = re.compile(
    r"[*\s]*(?:\$|\\[(\[]|[-+−]?\s*[\d.\\({\[√π∞]|[-+−]?[a-zA-Z](?![a-zA-Z])|[a-zA-Z]\w*\s*[=<>≤≥(])"
)


def sayable(content: str, kind: AnswerType) -> bool:
    """Whether a clause can state a value of the asked type, so that "the answer is plausible" replaces no box."""
    if not content or _BOX.search(content):
        return False
    if kind is AnswerType.CHOICE:
        return bool(_LETTERED.match(content)) or (len(content) <= 60 and bool(_NUMERIC.match(content)))
    if kind in (AnswerType.INTEGER, AnswerType.FLOAT):
        return bool(_NUMERIC.match(content))
    if kind is AnswerType.TEXT:
        return bool(_NUMERIC.match(content)) or len(content.split()) <= 4
    return bool(_FORMULAIC.match(content)) and not re.match(rf"(?i:a|i)\s+{_LATIN}{{2}}", content)
