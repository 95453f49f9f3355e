"""Cleaned answers in, their outer structure out: lists, tuples, sets, intervals, unions, relations, matrices, leaves.

Only brackets, commas and relation signs are read here, so that a list is compared element by element and a set is never
guessed from two neighbouring numbers. Linear in the length of the answer for a bounded depth.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from rewards.verifier.answers import normal, numeric

MAX_DEPTH = 40
MAX_ITEMS = 64

Kind = Literal["leaf", "text", "bare", "tuple", "set", "union", "relation", "matrix", "ratio"]


@dataclass(frozen=True, slots=True)
class Node:
    """`items` are the parts; `marks` the brackets of a tuple (`(]`), the signs of a relation, the shape of a matrix."""

    kind: Kind
    text: str
    items: tuple[Node, ...] = ()
    marks: tuple[str, ...] = ()


class TooDeepError(ValueError):
    """Brackets are nested beyond the cap."""


_OPEN, _CLOSE = {"(": ")", "[": "]", "{": "}"}, {")", "]", "}"}
_SIGNS = re.compile(r"\\(?:le|ge|ne|approx|in|lt|gt|equiv)(?![a-zA-Z])|<=|>=|!=|[<>=]")
_SIGN = {"<=": r"\le", ">=": r"\ge", "!=": r"\ne", r"\lt": "<", r"\gt": ">", r"\equiv": "="}
_NAMED = re.compile(r"^[a-zA-Z](?:_\w)?(?:\([a-z]\))?\s*=\s*(?=\\begin\s*\{[dr]?cases\})")
_MATRIX = re.compile(r"\\begin\s*\{([pbBv]?matrix|smallmatrix|array)\}(?:\s*\{[lcr|]*\})?(.*)\\end\s*\{\1\}", re.DOTALL)
_CASES = re.compile(r"\\begin\s*\{[dr]?cases\}(.*)\\end\s*\{[dr]?cases\}", re.DOTALL)
_TEXT_ONLY = re.compile(r"(?:\\text\s*\{[^{}]*\}\s*)+")
_WORDS = re.compile(r"[A-Z]?[a-z]{3,}(?:[ -][A-Za-z]+)*")
_PLUS_MINUS = re.compile(r"\\(?:pm|mp)(?![a-zA-Z])")
_CUP = re.compile(r"\\cup(?![a-zA-Z])")
_COMMA = re.compile(r"[,;]")
_COLON = re.compile(r":")
_THOUSANDS = re.compile(r"[+-]?\s*\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def depth(text: str) -> int:
    """Deepest nesting of brackets, closed or not."""
    level = deepest = 0
    for char in text:
        if char in "([{":
            level += 1
            deepest = max(deepest, level)
        elif char in ")]}":
            level = max(0, level - 1)
    return deepest


def is_text(text: str) -> bool:
    """Whether a cleaned answer is words: `\\text{..}`, or letters that are no product of names."""
    return bool(_TEXT_ONLY.fullmatch(text) or _WORDS.fullmatch(text))


_NAME = re.compile(
    r"(?:\\[a-zA-Z]+|[a-zA-Z])(?:_(?:\{[^{}]*\}|\w))?'*|[A-Z]{2,4}'*"
    r"|\\text\s*\{[^{}\d]*\}\s*(?:(?:of\s*)?\\?(?:triangle|angle)?\s*[A-Z]{1,5})?"
    r"|(?:[A-Za-z][a-z]{3,}|[Ss]um|[Mm]in|[Mm]ax|[Aa]ns)(?: [A-Za-z]+){0,4}"
)
_CALL = re.compile(
    r"(?!\\(?:sqrt|ln|log|lg|exp|sin|cos|tan|cot|sec|csc|arc))(?:\\?[a-zA-Z]+)(?:_(?:\{[^{}]*\}|\w))?'*\s*\([^()]*\)"
    r"(?:_\{?\\?(?:text\{)?(?:max|min)\}*)?|\\(?:Pr|gcd|lcm|max|min)\s*\([^()]*\)"
    r"|\\(?:sin|cos|tan|cot|sec|csc)\s*\(?\s*(?:\\angle\s*)?(?:[A-Z]{1,3}|\\(?:alpha|beta|gamma|delta|theta|phi|varphi|omega))\s*\)?"
)
_MEASURED = re.compile(
    r"\|\s*(?:\\?(?:overline|vec|overrightarrow)\s*\{?\s*[a-zA-Z]{1,3}'*\s*\}?|[A-Z]{1,3}'*|[zwuv])\s*\||m?\s*\\angle\s*\{?[A-Z0-9]{1,3}\}?"
    r"|\\(?:overline|widehat|overset\{\\frown\})\s*\{[A-Z]{2}\}|S_\{?\s*\\triangle\s*[A-Z]{3}\}?|\[[A-Z]{3,}\]"
)


def names_value(side: str, sums: bool = True) -> bool:
    """Whether one side of an equation only names what the other side says: a name, a call, a measured object, a sum of
    different names."""
    side = side.strip()
    if not side or side in (r"\pi", r"\infty", "e", "i") or side.startswith((r"\frac", r"\sqrt")):
        return False
    side = re.sub(r"^\\(?:max|min|sup|inf|lim)(?:_\{[^{}]*\})?\s*(?=[a-zA-Z])", "", side)
    if re.fullmatch(r"\(\s*[a-zA-Z]\w*(?:\s*,\s*[a-zA-Z]\w*)+\s*\)", side):
        return True
    if ":" in side:
        return all(names_value(part) for part in side.split(":"))
    if _NAME.fullmatch(side) or _CALL.fullmatch(side) or _MEASURED.fullmatch(side):
        return True
    parts = [part.strip() for part in side.split("+")] if sums else []
    return (
        len(parts) > 1
        and len({*parts}) == len(parts)
        and all(re.fullmatch(r"[a-zA-Z](?:_\{?\w\}?)?|[A-Z]{2}", p) for p in parts)
    )


def worked(side: str) -> Fraction | complex | None:
    """What arithmetic on numbers alone, such as `24 \\cdot 24`, comes to; None for anything else."""
    if not re.search(r"\d", side):
        return None
    try:
        return numeric.at(numeric.parse(side), {})
    except numeric.UnreadableError:
        return None


def contradict(left: str, right: str) -> bool:
    """Whether two sides of an equation are numbers, and not the same one."""
    one, two = worked(left), worked(right)
    if one is None or two is None or one == two:
        return False
    return isinstance(one, Fraction) == isinstance(two, Fraction) or abs(complex(one) - complex(two)) > 1e-9 * abs(
        complex(two)
    )


def parse(text: str) -> Node:
    """The structure of a cleaned answer. Raises TooDeepError."""
    if depth(text) > MAX_DEPTH:
        raise TooDeepError
    return _node(text.strip())


def _node(text: str) -> Node:
    if _TEXT_ONLY.fullmatch(text):
        return Node("text", text)
    if _THOUSANDS.fullmatch(text):
        return Node("leaf", text)
    cases = _CASES.fullmatch(_NAMED.sub("", text))
    if cases:
        return _cases(text, cases)
    matrix = _MATRIX.fullmatch(re.sub(r"^[(\[]\s*(?=\\begin)|(?<=\})\s*[)\]]$", "", text))
    if matrix:
        return _matrix(text, matrix)
    text = normal.separators(text)
    records = _records(text)
    if records is not None:
        return records
    items = _plus_minus(_commas(text))
    if len(items) > 1:
        return _bare(text, items)
    return _relation(text) or _enclosed(text) or _leaf(text)


_ASSIGNMENT = re.compile(r"\s*([a-zA-Z](?:_\{?\w\}?)?)\s*=\s*([^=,;]+)\s*")


def _records(text: str) -> Node | None:
    """`p=5, q=2; p=7, q=2` as the points (5, 2), (7, 2); `p=3, q=2` as one."""
    rows: list[tuple[tuple[str, str], ...]] = []
    for part in split(text, re.compile(";")):
        found = [_ASSIGNMENT.fullmatch(item) for item in split(part, re.compile(","))]
        if len(found) < 2 or not all(found):
            return None
        rows.append(tuple((m[1], m[2].strip()) for m in found if m))
        rows[-1] = tuple(sorted(rows[-1]))
    names = tuple(name for name, _ in rows[0])
    if len({*names}) != len(names) or any(tuple(name for name, _ in row) != names for row in rows):
        return None
    points = tuple(
        Node("tuple", f"({','.join(v for _, v in row)})", tuple(_node(v) for _, v in row), ("(", ")", *names))
        for row in rows
    )
    return points[0] if len(points) == 1 else Node("bare", text, points)


def _bare(text: str, items: list[str]) -> Node:
    """`a, b, c`: in `n = 2, 3, 4` the name belongs to all."""
    nodes = tuple(_node(i.strip()) for i in items[: MAX_ITEMS + 1])
    first = nodes[0]
    if first.kind == "relation" and first.marks == ("=",) and all(n.kind != "relation" for n in nodes[1:]):
        nodes = (first.items[1], *nodes[1:])
    return Node("bare", text, nodes)


def _relation(text: str) -> Node | None:
    parts, signs = _split_signs(text)
    if not signs:
        return None
    nodes = tuple(_node(p.strip()) for p in parts)
    return Node("relation", text, nodes, tuple(_SIGN.get(s, s) for s in signs))


def _enclosed(text: str) -> Node | None:
    unions = split(text, _CUP)
    if len(unions) > 1:
        return Node("union", text, tuple(_node(u.strip()) for u in unions))
    body = text.replace(r"\langle", "(").replace(r"\rangle", ")").strip()
    if body.startswith(r"\{") and body.endswith(r"\}"):
        inner = _plus_minus(split(body[2:-2], _COMMA))
        return Node("set", text, tuple(_node(i.strip()) for i in inner if i.strip()))
    if len(body) > 2 and body[0] in "([" and body[-1] in ")]" and _whole(body):
        items = split(body[1:-1], _COMMA)
        if len(items) > 1:
            return Node("tuple", text, tuple(_node(i.strip()) for i in items), (body[0], body[-1]))
        if body[0] + body[-1] == "()" and re.search(r"[,]|\\(?:cup|begin)", body):
            return _node(body[1:-1].strip())
    ratio = split(text, _COLON)
    if len(ratio) > 1:
        return Node("ratio", text, tuple(_node(r.strip()) for r in ratio))
    return None


def _leaf(text: str) -> Node:
    return Node("leaf", text)


def _matrix(text: str, match: re.Match[str]) -> Node:
    rows = [r for r in re.split(r"\\\\(?:\[[^\]]*\])?|\\cr(?![a-z])", match[2]) if r.strip()]
    cells = [[c.strip() for c in row.replace(r"\hline", "").split("&")] for row in rows]
    shape = "x".join(str(len(row)) for row in cells)
    kind = "det" if match[1] == "vmatrix" else "matrix"
    return Node("matrix", text, tuple(_node(c) for row in cells for c in row), (kind, shape))


def _cases(text: str, match: re.Match[str]) -> Node:
    """A piecewise function: its branches in any order, each a value and its condition."""
    found = []
    rows = [row.strip(" ,.") for row in re.split(r"\\\\(?:\[[^\]]*\])?", match[1]) if row.strip()]
    if all(_ASSIGNMENT.fullmatch(row) for row in rows):
        return _records(", ".join(rows)) or _leaf(text)
    for row in rows:
        value, _, condition = row.partition("&")
        if row.strip():
            condition = re.sub(r"\\text\s*\{[^{}]*\}|\b(?:if|for|when|otherwise|else)\b|[.;]\s*$", "", condition)
            condition = condition.strip(" ,")
            cell = value.strip().rstrip(",")
            found.append(Node("matrix", row, (_node(cell), _node(condition)), ("branch", "2")))
    return Node("set", text, tuple(found))


def _plus_minus(items: list[str]) -> list[str]:
    """`a \\pm b` as two answers; the upper signs together, the lower signs together."""
    found: list[str] = []
    for item in items:
        levels = _levels(item)
        if any(levels[m.start()] == 0 for m in _PLUS_MINUS.finditer(item)):
            for upper, lower in (("+", "-"), ("-", "+")):
                found.append(re.sub(r"\\mp\b", f" {lower} ", re.sub(r"\\pm\b", f" {upper} ", item)).strip())
        else:
            found.append(item)
    return found


def _levels(text: str) -> list[int]:
    """Bracket depth at each character; a half-open interval closes with either bracket."""
    level, levels = 0, []
    for char in text:
        if char in _OPEN:
            level += 1
        elif char in _CLOSE:
            level = max(0, level - 1)
        levels.append(level if char not in _OPEN else level - 1)
    return levels


def split(text: str, mark: re.Pattern[str]) -> list[str]:
    """The parts of a text between marks outside brackets."""
    levels, parts, start = _levels(text), [], 0
    for match in mark.finditer(text):
        if levels[match.start()] == 0:
            parts.append(text[start : match.start()])
            start = match.end()
    return [*parts, text[start:]]


def _commas(text: str) -> list[str]:
    """Split at outer commas, unless every one of them groups the digits of a number (`\\$32,348`, `1,000x`)."""
    levels = _levels(text)
    outer = [m.start() for m in _COMMA.finditer(text) if levels[m.start()] == 0]
    if outer and all(_groups_digits(text, place) for place in outer):
        return [text]
    return split(text, _COMMA)


def _groups_digits(text: str, place: int) -> bool:
    before = re.search(r"(?<![\d.])[1-9]\d{0,2}(?:,\d{3})*$", text[max(0, place - 40) : place])
    return bool(before and re.match(r",\d{3}(?!\d)", text[place : place + 5]))


def _split_signs(text: str) -> tuple[list[str], list[str]]:
    levels, parts, signs, start = _levels(text), [], [], 0
    for match in _SIGNS.finditer(text):
        if levels[match.start()] == 0:
            parts.append(text[start : match.start()])
            signs.append(match.group())
            start = match.end()
    return [*parts, text[start:]], signs


def _whole(body: str) -> bool:
    """Whether the first bracket closes at the very end."""
    level = 0
    for place, char in enumerate(body):
        if char in _OPEN:
            level += 1
        elif char in _CLOSE:
            level -= 1
            if level == 0:
                return place == len(body) - 1
    return False
