"""Answers out of free prose, by rules: for benchmarks whose authors let a judge model extract them.

In: a response and, for a choice, the texts of the options. Out: the option letter, the number or None. Order: a mark (box,
answer tag), what follows the last "answer is", a lettered option, then the conclusion (the last sentences that name an
option or a number). This is generous on purpose and serves only `official` rules; rewards use the strict rule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LETTERS = "ABCDEFGHIJ"
_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_WORDS = {word: str(value) for value, word in enumerate(_NAMES)}
_MARK = re.compile(r"(?:final |correct |best |right )?(?:answer|choice|option)\b", re.IGNORECASE)
_LINK = re.compile(
    r"[^.\n]{0,80}?(?:(?<![a-z])(?:is|be|are|was)(?![a-z])|[:=])\**\s*(?:option|choice|answer|:|approximately|about|therefore)*\s*[:\s]*",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"(?<![\w.])[-+−]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:\s*/\s*\d+(?![\d.]))?|(?<![\w.])[-+−]?\.\d+"
)
_VERB = re.compile(r"\b(?:is|are|has|have|does|do|there)\b")
_SENTENCE = re.compile(r"(?<=[.!?])(?:\*\*|\")?\s+|\n+")
_REFUSAL = re.compile(
    r"(?:cannot|can ?not|can't|could not|not possible to|impossible to|unable to|difficult to) (?:be )?(?:\w+ly )?"
    r"(?:determin|provid|giv|answer|calculat|process|help|say|find|predict|quantif|compar|give|access|see|be certain)"
    r"|not (?:\w+ )?(?:provide|give|specify|contain|include)|information provided (?:does not|is not|is insufficient)"
    r"|in?sufficient|not enough information|please (?:provide|give|check)|none of (?:the|these)|no (?:correct|given) option"
    r"|not (?:in|available|among|an option|one of|match|given|provided|specified|valid)"
    r"|without (?:the|any|more|further|specific|additional|seeing|knowing)|I'm sorry|(?:do not|don't) know|depends? on the"
    r"|would require|mistake in the",
    re.IGNORECASE,
)


def conclusion(response: str) -> str | None:
    """The content of the last box or answer tag, else None."""
    from harness.core.records import AnswerType
    from rewards.verifier.answers.marks import final_answer

    if re.search(r"\\boxed|\\fbox|<answer>", response):
        return final_answer(response, AnswerType.EXPRESSION) or None
    return None


def after_answer(response: str) -> str | None:
    """What follows the last "answer is" of the response, up to the end of its line."""
    for found in reversed(list(_MARK.finditer(response))):
        link = _LINK.match(response, found.end())
        if link:
            rest = response[link.end() :].split("\n")[0].strip()
            if rest:
                return rest
    return None


def option(response: str, options: Sequence[str]) -> str | None:
    """The letter of the option that the response names last and most plainly, or None."""
    letters = LETTERS[: len(options)] or LETTERS[:9]
    text = response.strip()
    if not text:
        return None
    if text in options:
        return letters[list(options).index(text)]
    marked = conclusion(response)
    if marked is not None:
        return lettered(marked, letters) or _same(marked, options)
    stated = after_answer(response)
    for source in (text if len(text) < 40 else None, stated and _opening(stated)):
        found = source and (lettered(source, letters) or _named(source, options))
        if found:
            return found
    bracketed = re.findall(rf"\(([{letters}])\)", text)
    if bracketed and len({*bracketed[-2:]}) == 1:
        return bracketed[-1]
    if options and not refuses(text):
        return _yes_no(text, options) or _concluded(text, options)
    return bracketed[-1] if bracketed and not options else None


def refuses(response: str) -> bool:
    """Whether the response ends by saying that there is no answer."""
    sentences = [s for s in _SENTENCE.split(response.strip()) if s]
    return any(_REFUSAL.search(s) for s in sentences[-2:])


def lettered(text: str, letters: str) -> str | None:
    """The letter at the start of a phrase: `C`, `(C) 12`, `**C**`, `C. 12`, `\\text{C}`."""
    text = re.sub(r"\\(?:text|mathrm|mathbf|textbf)\s*\{|[*$`{}\"]|\\[()]", "", text).strip()
    if re.match(rf"[(]?[{letters}][)]?(?:\s*(?:,|and|or|&)\s*|\s+)[(]?[A-J](?![A-Za-z])", text):
        return None  # several letters are no choice
    found = re.match(rf"\(\s*([{letters}{letters.lower()}])\s*\)|([{letters}])(?=$|[).:,;\s])(?!\s+[a-z])", text)
    return (found[1] or found[2]).upper() if found else None


def number(response: str) -> str | None:
    """The number that the response concludes with, as plain digits (`a/b` is worked out), or None."""
    marked = conclusion(response)
    if marked is not None and (found := numbers(marked)):
        return found[-1]
    stated = after_answer(response)
    if stated and (found := numbers(_opening(stated))):
        return found[-1] if "=" in _opening(stated) else found[0]
    bold = [n for part in re.findall(r"\*\*([^*\n]{1,40})\*\*", response) for n in numbers(part)[-1:]]
    if bold:
        return bold[-1]
    if _REFUSAL.search(response):
        return None
    sentences = [s for s in _SENTENCE.split(response.strip()) if s]
    for sentence in reversed(sentences):
        found = numbers(sentence)
        if found:
            return found[-1] if len(sentences) > 1 or "=" in sentence else _stated(sentence, found)
    return None


def numbers(text: str) -> list[str]:
    """The numbers of a text in order, also the words zero to twelve."""
    spelt = re.sub(
        r"\b(" + "|".join(_WORDS) + r")\b", lambda m: _WORDS[m[1].lower()], _plain(text), flags=re.IGNORECASE
    )
    found = []
    for match in _NUMBER.finditer(spelt):
        literal = match.group().replace(",", "").replace("−", "-").replace(" ", "")
        above, slash, below = literal.partition("/")
        if slash and float(below):
            literal = repr(float(above) / float(below))
        found.append(literal)
    return found


def _plain(text: str) -> str:
    text = re.sub(r"\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}", r" \1/\2", text).replace("√{", "√").replace("√(", "√")
    return re.sub(r"\\(?:text|mathrm|boxed)|[{}$*\\]|\^\s*\\?circ", " ", text)


def _stated(sentence: str, found: list[str]) -> str:
    """Of one sentence's numbers the one behind its last "is", else the first."""
    tail = numbers(re.split(r"\b(?:is|are|was|were|be|equals?|of)\b", sentence)[-1])
    return tail[0] if tail else found[-1]


def _opening(text: str) -> str:
    """The first sentence of a phrase."""
    return _SENTENCE.split(text.strip())[0]


def _same(text: str, options: Sequence[str]) -> str | None:
    """The letter of the one option that the text is, as words or as a number."""
    bare, values = re.sub(r"\s+", "", _plain(text)).casefold().strip("."), numbers(text)
    held = [
        c
        for c, o in zip(LETTERS, options, strict=False)
        if bare
        and (
            re.sub(r"\s+", "", _plain(o)).casefold().strip(".") == bare
            or (len(values) == 1 and _bare_number(text) and [float(n) for n in numbers(o)] == [float(values[0])])
        )
    ]
    return held[0] if len(held) == 1 else None


def _bare_number(text: str) -> bool:
    """One number, perhaps with a name or a unit of letters."""
    return bool(re.fullmatch(r"(?:[a-zA-Z]+\s*=)?\s*[-+−.\d,/\s]+[a-zA-Z°%\s]*", _plain(text).strip()))


def _named(text: str, options: Sequence[str]) -> str | None:
    """The letter of the one option whose text the phrase holds; of nested ones the longest; by number where all are."""
    low = " " + re.sub(r"\s+", " ", _plain(text)).casefold() + " "
    held = []
    for letter, choice in zip(LETTERS, options, strict=False):
        wanted = re.sub(r"\s+", " ", _plain(choice)).casefold().strip()
        places = (
            [m.start() for m in re.finditer(rf"(?<![\w.]){re.escape(wanted)}(?![\w])(?!\.\d)", low)] if wanted else []
        )
        if places:
            held.append((places[-1], len(wanted), letter))
    held = [h for h in held if not any(o[1] > h[1] and o[0] <= h[0] < o[0] + o[1] for o in held)]
    if len(held) == 1:
        return held[0][2]
    if not held and (found := numbers(text)):
        values = [[float(n) for n in numbers(o)] for o in options]
        same = [c for c, v in zip(LETTERS, values, strict=False) if v == [float(found[-1])]]
        return same[0] if len(same) == 1 else None
    return None


def _yes_no(text: str, options: Sequence[str]) -> str | None:
    """For a yes/no question: a leading yes or no, else the last one, else whether the conclusion is negated."""
    known = {o.strip().casefold().rstrip("."): c for c, o in zip(LETTERS, options, strict=False)}
    if set(known) != {"yes", "no"}:
        return None
    start = re.match(r"\W*(yes|no)\b", text, re.IGNORECASE)
    said = [start[1]] if start else re.findall(r"\b(yes|no)\b(?=[,.*\"]|$)", text, re.IGNORECASE)
    if said:
        return known[said[-1].casefold()]
    stated = [s for s in _SENTENCE.split(text) if _VERB.search(s) and "boxed" not in s and len(s.split()) > 3]
    if not stated:
        return None
    concluded = re.search(r"\b(?:therefore|thus|so|hence|conclusion)\b", stated[-1], re.IGNORECASE)
    first_or_last = stated[-1] if concluded else stated[0]
    return known["no" if re.search(r"\b(?:not|n't|no|neither|isn't|doesn't|aren't)\b|n't\b", first_or_last) else "yes"]


def _concluded(text: str, options: Sequence[str]) -> str | None:
    """The option named by the last sentence that names exactly one."""
    for sentence in reversed(_SENTENCE.split(text)):
        found = _named(sentence, options)
        if found:
            return found
    return None


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance; beyond 1,000 characters of one side the rest of it counts as inserted."""
    rest, a = max(0, len(a) - 1000), a[:1000]
    row = list(range(len(b) + 1))
    for i, char in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (char != other))
    return row[-1] + rest
