"""The number that free prose concludes with, by rules: for benchmarks whose authors let a judge model extract it.

In: a response without its thinking. Out: plain digits or None. Units with their exponents, "12 out of 20" and Chinese text are
read; order: a mark, what follows the last "answer is", bold text, then the last sentence with a number. Serves only `official`
rules.
"""

from __future__ import annotations

import re

from tasks.support.prose import after_answer, conclusion, denied, flat, opening, sentences

_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_WORDS = {word: str(value) for value, word in enumerate(_NAMES)}
_SPELT = re.compile(r"\b(" + "|".join(_WORDS) + r")\b", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])[-+−]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:\s*/\s*\d+(?![\d.]))?|(?<![A-Za-z0-9_.])[-+−]?\.\d+"
)
_EXPONENT = re.compile(r"(?<=[a-zA-Z}])[\s$]*(?:\^\s*(?:\{\s*-?\d+\s*\}|-?\d+)|[²³])")
_SHARE = re.compile(r"(?<!\d)(\d+)\s+out\s+of\s+(?:the\s+)?(?:total\s+)?\d+")


def numbers(text: str) -> list[str]:
    """The numbers of a text in order, also the words zero to twelve; exponents of units and names are none."""
    spelt = _SPELT.sub(lambda m: _WORDS[m[1].lower()], flat(_EXPONENT.sub(" ", text)))
    found = []
    for match in _NUMBER.finditer(_SHARE.sub(r"\1", spelt)):
        literal = match.group().replace(",", "").replace("−", "-").replace(" ", "")
        above, slash, below = literal.partition("/")
        if slash and float(below):
            literal = repr(float(above) / float(below))
        found.append(literal)
    return found


def bare_number(text: str) -> bool:
    """One number, perhaps with a name or a unit of letters."""
    return bool(re.fullmatch(r"(?:[a-zA-Z]+\s*=)?\s*[-+−.\d,/\s]+[a-zA-Z°%\s]*", flat(text).strip()))


def number(response: str) -> str | None:
    """The number that the response concludes with, as plain digits (`a/b` is worked out), or None."""
    marked = conclusion(response)
    if marked is not None and (found := numbers(marked)):
        return found[-1]
    stated = after_answer(response)
    if stated and (found := numbers(opening(stated))):
        return found[-1] if "=" in opening(stated) else found[0]
    bold = [n for part in re.findall(r"\*\*([^*\n]{1,40})\*\*", response) for n in numbers(part)[-1:]]
    if bold:
        return bold[-1]
    if denied(response):
        return None
    said = sentences(response)
    for sentence in reversed(said):
        found = numbers(sentence)
        if found:
            return found[-1] if len(said) > 1 or "=" in sentence else _stated(sentence, found)
    return None


def _stated(sentence: str, found: list[str]) -> str:
    """Of one sentence's numbers the one behind its last "is", else the first."""
    tail = numbers(re.split(r"\b(?:is|are|was|were|be|equals?|of)\b", sentence)[-1])
    return tail[0] if tail else found[-1]
