"""Two mathematical answers in, (status, reason) out: structure first, values at the leaves.

Lists without brackets and sets match in any order, tuples, intervals and matrices element by element. A name in front
(`x = 5`, `f(x) = 2x`) is part of the answer only where both sides give one.
"""

from __future__ import annotations

import itertools
import re

from rewards.verifier import Reason
from rewards.verifier.answers import compare as compare_values
from rewards.verifier.answers import exact, normal, plain, ratios, readings, reals, spoken, structure, symbolic, times
from rewards.verifier.answers.structure import Node

_NAME = re.compile(r"\\?[a-zA-Z]+(?:_(?:\{[^{}]*\}|\w))?'*")
_FUNCTION = re.compile(r"([a-zA-Z](?:_(?:\{[^{}]*\}|\w))?'*)\(\s*([a-zA-Z])\s*\)")
_BASE = re.compile(r"(?:\(\s*)?([0-9A-Z]+)(?:\s*\))?_\{?\s*(\d+)\s*\}?")
_FACTOR = re.compile(r"[\d})][a-zA-Z]$")
"""A letter close behind a number: in a gold a factor, unless the answer says that it is a unit."""
_INFINITE = re.compile(r"[+-]?\s*\\infty")


class _UnreadableError(ValueError):
    """A leaf that is not wholly mathematics; whose fault is decided by the caller."""


def compare(gold: str, answer: str) -> tuple[bool | None, Reason]:
    """Whether the answer is the gold, in one of the readings that the gold allows. A gold that cannot be read is graded only
    if the answer is written the same."""
    left, right = normal.clean(gold), normal.clean(answer)
    if normal.squeeze(left) == normal.squeeze(right) or _said_alike(gold, answer, left):
        return True, Reason.MATCH
    outcome = _compare(left, right)
    if outcome[0] is False:
        for other in readings.alternatives(left, right):
            if _compare(left, other)[0]:
                return True, Reason.MATCH
    return outcome


def _said_alike(gold: str, answer: str, left: str) -> bool:
    """The same words, or the same time or date."""
    if structure.is_text(left) and spoken.read(normal.words(gold)) is None:
        return same_words(gold, answer)
    wanted = times.read(gold)
    given = times.read(answer) if wanted is not None else None
    return wanted is not None and given is not None and times.same(wanted, given)


_TRUTH = {"true": "yes", "false": "no"}


def same_words(gold: str, answer: str) -> bool:
    """The same words, whatever their wrappers; yes and true are one answer."""
    left, right = normal.words(gold), normal.words(answer)
    if left == right or _TRUTH.get(left, left) == _TRUTH.get(right, right):
        return True
    wanted, given = times.read(gold), times.read(answer)
    return wanted is not None and given is not None and times.same(wanted, given)


def _compare(left: str, right: str) -> tuple[bool | None, Reason]:
    left, right = readings.radians(left), readings.radians(right)
    if plain.is_empty_set(left) or plain.is_empty_set(right):
        return (
            (True, Reason.MATCH) if plain.is_empty_set(left) and plain.is_empty_set(right) else (False, Reason.MISMATCH)
        )
    (left, condition), (right, other) = plain.conditioned(left), plain.conditioned(right)
    if condition and other and normal.squeeze(normal.words(condition)) != normal.squeeze(normal.words(other)):
        return False, Reason.MISMATCH
    try:
        if _same(structure.parse(left), structure.parse(right)):
            return True, Reason.MATCH
        if reals.is_set_like(left) and reals.is_set_like(right) and reals.same(left, right):
            return True, Reason.MATCH
        if reals.is_set_like(left) != reals.is_set_like(right) and _pair(left, right) and reals.same(left, right):
            return True, Reason.MATCH
    except structure.TooDeepError:
        return None, Reason.TOO_DEEP
    except symbolic.TooLargeError:
        return None, Reason.TOO_LARGE
    except _UnreadableError:
        return False, Reason.PARTIAL_PARSE
    return False, Reason.MISMATCH


def _pair(left: str, right: str) -> bool:
    """Whether one side is a plain pair of brackets `(a, b)`, an interval where the other is a set of reals."""
    return any(re.fullmatch(r"[(\[][^()\[\]]*,[^()\[\]]*[)\]]", side.strip()) for side in (left, right))


def _same(gold: Node, answer: Node) -> bool:
    if normal.squeeze(gold.text) == normal.squeeze(answer.text):
        return True
    if "relation" in (gold.kind, answer.kind):
        return _relations(gold, answer)
    if "text" in (gold.kind, answer.kind):
        return normal.words(gold.text) == normal.words(answer.text) or _spoken(gold.text, answer.text)
    if gold.kind == answer.kind == "leaf":
        return _leaves(gold.text, answer.text)
    return _collections(gold, answer)


def _collections(gold: Node, answer: Node) -> bool:
    kinds = (gold.kind, answer.kind)
    gold, answer = _one_set(gold), _one_set(answer)
    kinds = (gold.kind, answer.kind)
    if _is_piecewise(gold) and _is_piecewise(answer):
        return _branches(gold.items, answer.items)
    if kinds in (("bare", "bare"), ("set", "set"), ("bare", "set"), ("set", "bare"), ("union", "union")):
        return _any_order(gold.items, answer.items)
    if kinds in (("tuple", "tuple"), ("matrix", "matrix"), ("ratio", "ratio")):
        return _same_marks(gold, answer) and (_in_order(gold.items, answer.items) or ratios.proportional(gold, answer))
    if kinds in (("tuple", "bare"), ("bare", "tuple")):
        pair = gold if gold.kind == "tuple" else answer
        return (
            pair.marks[:2] == ("(", ")")
            and not any(_INFINITE.fullmatch(i.text) for i in pair.items)
            and _in_order(gold.items, answer.items)
        )
    if "ratio" in kinds and kinds[0] != kinds[1]:
        return ratios.quotient(gold, answer)
    if "matrix" in kinds and "tuple" in kinds:
        return _column(gold, answer)
    for one, other in ((gold, answer), (answer, gold)):
        if one.kind == "set" and len(one.items) == 1 and other.kind == "leaf":
            return _same(*((one.items[0], other) if one is gold else (other, one.items[0])))
    return False


def _same_marks(gold: Node, answer: Node) -> bool:
    """The same brackets or shape; names of the members only where both sides give them."""
    if gold.kind == "ratio":
        return ratios.padded(gold) == ratios.padded(answer)
    if gold.kind != "tuple":
        return gold.marks == answer.marks
    named = gold.marks[2:], answer.marks[2:]
    return gold.marks[:2] == answer.marks[:2] and (named[0] == named[1] or () in named)


def _is_piecewise(node: Node) -> bool:
    return node.kind == "set" and bool(node.items) and all(i.marks == ("branch", "2") for i in node.items)


def _branches(gold: tuple[Node, ...], answer: tuple[Node, ...]) -> bool:
    """The same values under the same conditions, in any order; "otherwise" is whatever the other conditions leave."""
    if _any_order(gold, answer):
        return True
    last = answer[-1]
    if len(gold) != len(answer) or last.items[1].text or any(not i.items[1].text for i in (*gold, *answer[:-1])):
        return False
    whole = reals.covers([i.items[1].text for i in gold])
    left = [g for g in gold if not any(_same(g, a) for a in answer[:-1])]
    return whole and len(left) == 1 and _same(left[0].items[0], last.items[0])


def _spoken(gold: str, answer: str) -> bool:
    """`two thirds` as a number."""
    wanted, given = exact.read(gold), exact.read(answer)
    return wanted is not None and given is not None and exact.equal(wanted, given)


def _column(gold: Node, answer: Node) -> bool:
    """A column or a row of a matrix and a point with the same coordinates."""
    matrix, point = (gold, answer) if gold.kind == "matrix" else (answer, gold)
    shape = set(matrix.marks[1].split("x"))
    if matrix.marks[0] != "matrix" or point.marks[:2] != ("(", ")") or (shape != {"1"} and "x" in matrix.marks[1]):
        return False
    return _in_order(gold.items, answer.items)


def _one_set(node: Node) -> Node:
    """A union of finite sets as one set, each member once."""
    if node.kind != "union" or any(i.kind != "set" for i in node.items):
        return node
    members: list[Node] = []
    for item in (m for part in node.items for m in part.items):
        if not any(_same(item, m) for m in members):
            members.append(item)
    return Node("set", node.text, tuple(members))


def _in_order(gold: tuple[Node, ...], answer: tuple[Node, ...]) -> bool:
    return len(gold) == len(answer) and all(_same(g, a) for g, a in zip(gold, answer, strict=True))


def _any_order(gold: tuple[Node, ...], answer: tuple[Node, ...]) -> bool:
    """One-to-one. Equality is transitive, so taking the first equal partner is enough."""
    if len(gold) != len(answer) or len(gold) > structure.MAX_ITEMS:
        return False
    left = list(answer)
    for item in gold:
        partner = next((a for a in left if _same(item, a)), None)
        if partner is None:
            return False
        left.remove(partner)
    return True


# --- relations


def _relations(gold: Node, answer: Node) -> bool:
    if gold.kind == answer.kind == "relation":
        return _both_relations(gold, answer)
    if gold.kind == "relation":
        bare = _value(gold)
        return bare is not None and _same(bare, answer)
    bare = _value(answer, named=False)
    return bare is not None and _same(gold, bare)


def _value(node: Node, named: bool = True) -> Node | None:
    """What a relation says the value is: the interval of an inequality, the last side of `x = .. = 5`, else None.

    `named`: the left side must be a name (`x + y = 5` is no spelling of a gold 5, but is one of an answer 5).
    """
    signs = set(node.marks)
    if signs <= {"=", r"\approx"}:
        *named_by, last = [i.text for i in node.items]
        if len(named_by) == 1 and structure.names_value(last) and not structure.names_value(named_by[0]):
            return node.items[0] if node.marks == ("=",) else None
        worked = () if named else tuple(s for s in named_by if structure.worked(s) is not None)
        if not all(structure.names_value(text, sums=not named) or text in worked for text in named_by):
            return None
        if not named and not _consistent(node):
            return None
        exact_sides = [i for i, s in zip(node.items[1:], node.marks, strict=True) if s == "="]
        return exact_sides[-1] if exact_sides else node.items[-1] if _is_name(node.items[0].text) else node.items[0]
    if node.marks == (r"\in",):
        return node.items[1]
    return _interval(node)


def _consistent(node: Node) -> bool:
    """A chain of numbers such as `2 + 3 = 5` must be true."""
    sides = [i for i, s in zip(node.items, ("=", *node.marks), strict=True) if s == "="]
    for left, right in itertools.pairwise(sides):
        if left.kind == right.kind == "leaf" and structure.contradict(left.text, right.text):
            return False
    return True


def _is_name(text: str) -> bool:
    return bool(_NAME.fullmatch(text) or _FUNCTION.fullmatch(text))


def _interval(node: Node) -> Node | None:
    """`a < x \\le b` and `x > a` as intervals."""
    ups, downs = {"<": False, r"\le": True}, {">": False, r"\ge": True}
    items, marks = node.items, node.marks
    if all(m in downs for m in marks):
        items, marks = items[::-1], tuple({">": "<", r"\ge": r"\le"}[m] for m in marks[::-1])
    if not all(m in ups for m in marks):
        return None
    ends: tuple[str, str]
    if len(items) == 3 and _is_name(items[1].text):
        ends, low, high = (items[0].text, items[2].text), ups[marks[0]], ups[marks[1]]
    elif len(items) == 2 and _is_name(items[0].text):
        ends, low, high = (r"-\infty", items[1].text), False, ups[marks[0]]
    elif len(items) == 2 and _is_name(items[1].text):
        ends, low, high = (items[0].text, r"\infty"), ups[marks[0]], False
    else:
        return None
    return structure.parse(f"{'[' if low else '('}{ends[0]},{ends[1]}{']' if high else ')'}")


def _both_relations(gold: Node, answer: Node) -> bool:
    if gold.marks == answer.marks and _in_order(gold.items, answer.items):
        return True
    left, right = _interval(gold), _interval(answer)
    if left is not None and right is not None:
        return _variable(gold) == _variable(answer) and _same(left, right)
    if set(gold.marks) | set(answer.marks) <= {"=", r"\approx"}:
        names = gold.items[0].text, answer.items[0].text
        if _is_name(names[0]) and _is_name(names[1]):
            return _assignments(gold, answer)
        return gold.marks == answer.marks == ("=",) and _equations(gold, answer)
    return False


def _variable(node: Node) -> str:
    return next((i.text for i in node.items if _is_name(i.text)), "")


def _assignments(gold: Node, answer: Node) -> bool:
    """The same name with the same value; in `f(n) = n` the argument may be called otherwise."""
    left, right = _FUNCTION.fullmatch(gold.items[0].text), _FUNCTION.fullmatch(answer.items[0].text)
    value, given = _value(gold), _value(answer)
    if value is None or given is None:
        return False
    if (
        left
        and right
        and left[1] == right[1]
        and left[2] != right[2]
        and not re.search(rf"(?<![\\a-zA-Z]){left[2]}(?![a-zA-Z])", given.text)
    ):
        given = structure.parse(re.sub(rf"(?<![\\a-zA-Z]){right[2]}(?![a-zA-Z])", left[2], given.text))
    elif normal.squeeze(gold.items[0].text) != normal.squeeze(answer.items[0].text):
        return False if not (gold.marks == answer.marks == ("=",)) else _equations(gold, answer)
    return _same(value, given) or (
        not (left or right) and gold.marks == answer.marks == ("=",) and _equations(gold, answer)
    )


def _equations(gold: Node, answer: Node) -> bool:
    """The same equation up to a constant factor, such as `2x - y + 3 = 0` and `y = 2x + 3`."""
    if any(i.kind != "leaf" for i in (*gold.items, *answer.items)):
        return False
    sides = [_read(i.text) for i in (*gold.items, *answer.items)]
    return symbolic.proportional(symbolic.difference(sides[0], sides[1]), symbolic.difference(sides[2], sides[3]))


# --- leaves


def _leaves(gold: str, answer: str) -> bool:
    if normal.squeeze(gold) == normal.squeeze(answer):
        return True
    if _INFINITE.fullmatch(gold) or _INFINITE.fullmatch(answer):
        return normal.squeeze(gold).lstrip("+") == normal.squeeze(answer).lstrip("+")
    base = _BASE.fullmatch(gold)
    turned = readings.angle(gold, answer)
    if turned is not None:
        return _values(gold, turned, None)
    if base or _BASE.fullmatch(answer):
        return bool(base) and _in_base(base, answer)
    wanted, given = exact.read(gold), exact.read(answer)
    if wanted is not None and given is not None and (given.unit or not _FACTOR.search(gold)):
        return exact.equal(wanted, given)
    return _values(gold, answer, given)


def _in_base(gold: re.Match[str] | None, answer: str) -> bool:
    """`52_8` as `52_{8}`, or as plain 52 where the question names the base."""
    given = _BASE.fullmatch(answer)
    assert gold is not None
    return (given[1], given[2]) == (gold[1], gold[2]) if given else answer.strip() == gold[1]


def _values(gold: str, answer: str, given: exact.Literal | None) -> bool:
    (left, unit), (right, other) = normal.split_unit(gold), normal.split_unit(answer)
    if unit and not other and _FACTOR.search(gold):
        left, unit = gold, ""
    if unit and other and unit != other:
        return False
    if compare_values.differ(left, right):
        return False
    percent = left.endswith("%"), right.endswith("%")
    try:
        wanted = symbolic.read_gold(left.removesuffix("%").removesuffix("\\") if percent == (True, True) else left)
    except symbolic.PartialParseError:
        # the gold itself is no mathematics: only the same spelling counts, and that was looked for before
        return False
    if given is not None and given.decimals is not None and not given.percent:
        return (
            symbolic.near(wanted, given.value, 1e-6)
            if not wanted.names and not _decimal(wanted)
            else symbolic.same(wanted, _read(right))
        )
    return symbolic.same(
        wanted, _read(right.removesuffix("%").removesuffix("\\") if percent == (True, True) else right)
    )


def _decimal(expression: symbolic.Expression) -> bool:
    """Whether a decimal can write the value exactly, so that nothing has to be rounded."""
    from fractions import Fraction

    tree = expression.tree.doit()
    return bool(tree.is_Rational) and exact.terminating(Fraction(int(tree.p), int(tree.q)))


def _read(text: str) -> symbolic.Expression:
    try:
        return symbolic.read(text)
    except symbolic.PartialParseError as error:
        raise _UnreadableError(text) from error
