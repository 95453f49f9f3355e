"""Answers as people type them in, answers as LaTeX writes them out: powers, roots, fractions, logarithms, bases, logic.

One table of rewritings, applied once and in order to a tidied answer. None of them changes a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_ARGUMENT = r"(\{[^{}]*\}|\\[a-zA-Z]+(?![a-zA-Z])|\d+(?:\.\d+)?|[a-zA-Z])"
_BASE_WORDS = "two three four five six seven eight nine ten twelve sixteen"
_BASES = dict(zip(_BASE_WORDS.split(), (*range(2, 11), 12, 16), strict=True))
_REWRITINGS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"\*\*|\^\^"), "^"),
    (re.compile(r"\\colon(?![a-zA-Z])"), ":"),
    (re.compile(r"\\not\s*="), r"\\ne "),
    (re.compile(r"\\([RNZQ])(?![a-zA-Z])"), r"\\mathbb{\1}"),
    (re.compile(r"(?<=\d)\s*\.\.\.+"), r"\\ldots "),
    (re.compile(r"(?<=\d)\s*\\text\s*\{\s*to\s*\}\s*(?=\d)|(?<=^\d)\s+to\s+(?=\d+$)"), ":"),
    (re.compile(r"(?<=\d)\s*&\s*(?=\d+$)"), " and "),
    (re.compile(r"\\root\s*\{?\s*(\d+)\s*\}?\s*\\of\s*\{?\s*(\w+)\s*\}?"), r"\\sqrt[\1]{\2}"),
    (re.compile(r"(?<![a-zA-Z\\])C\s*\(\s*(\d+|[a-z])\s*,\s*(\d+|[a-z])\s*\)"), r"\\binom{\1}{\2}"),
    (re.compile(r"\{?\s*\}?_\{?(\d+)\}?\s*C_\{?(\d+)\}?|C_\{?(\d+)\}?\^\{?(\d+)\}?"), r"\\binom{\1\3}{\2\4}"),
    (re.compile(r"\{\s*(\w+)\s*\\choose\s*(\w+)\s*\}"), r"\\binom{\1}{\2}"),
    (re.compile(r"\\?(max|min|gcd|lcm)\s*(?:\\left)?\s*\\\{([^{}]*)(?:\\right)?\\\}"), r"\\\1(\2)"),
    (
        re.compile(
            r"^([0-9A-Z]+)\s*_\s*\{\s*(?:\\text\s*\{)?\s*\(?(two|three|four|five|six|seven|eight|nine|ten|twelve|sixteen)\)?\s*\}+$"
        ),
        lambda m: f"{m[1]}_{{{_BASES[m[2]]}}}",
    ),
    (re.compile(r"^([0-9A-Z]+)\s*_\s*\{?\s*\((\d+)\)\s*\}?$"), r"\1_{\2}"),
    (re.compile(r"\\(?:nicefrac|sfrac|xfrac|flatfrac)(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\{([^{}]*)\\over(?![a-zA-Z])([^{}]*)\}"), r"\\frac{\1}{\2}"),
    (re.compile(r"^([^{}]*)\\over(?![a-zA-Z])([^{}]*)$"), r"\\frac{\1}{\2}"),
    (re.compile(r"\^\s*\(([^()]*)\)"), r"^{\1}"),
    (re.compile(r"(?<=[\w)}])\s*\*\s*(?=[\w(\\])"), r"\\cdot "),
    (re.compile(r"(?<![a-zA-Z\\])exp\s*\(([^()]*)\)|\\exp\s*\(([^()]*)\)"), r"e^{\1\2}"),
    (re.compile(r"\\sqrt\s*\[\s*([^\]]+)\s*\]\s*(\d+|[a-zA-Z])(?![a-zA-Z{])"), r"\\sqrt[\1]{\2}"),
    (re.compile(r"(?<![a-zA-Z\\])cbrt\s*\(([^()]*)\)"), r"\\sqrt[3]{\1}"),
    (re.compile(r"_\s*(\d+|[a-zA-Z])(?=[/+\-*=)\s,])"), r"_{\1}"),
    (re.compile(r"\\lg(?![a-zA-Z])\s*"), r"\\log_{10}"),
    (re.compile(r"\\log\s*_\s*\{?\s*e\s*\}?"), r"\\ln "),
    (re.compile(r"\s*\\(?:lor|vee)(?![a-zA-Z])\s*"), " or "),
    (re.compile(r"\s*\\(?:wedge|land)(?![a-zA-Z])\s*"), " and "),
    (re.compile(r"(?<=[\d)\]}])(or|and)(?=\s*[A-Za-z\d\\(\[])"), r" \1 "),
    (re.compile(r"(?<=[^\s=])\\(?:cancel|bcancel)\s*\{([^{}]*)\}"), r"\1"),
    (
        re.compile(
            r"^\(?\s*([0-9A-Z]+)\s*\)?\s*\(?\s*(?:\\text\s*\{\s*)?[( ]*(?:in\s+)?base[- ]+(\d+)\)?\s*\}?\s*\)?$"
        ),
        r"\1_{\2}",
    ),
    (re.compile(r"^\(?\s*([0-9A-Z]+)\s*\)?\s*\\text\s*\{\s*\(?\s*(?:in\s+)?base[- ]*\}\s*(\d+)$"), r"\1_{\2}"),
    (re.compile(r"(\d)\s*(?:\\text\s*\{\s*)?\b(?:pct\.?|percent|per\s+cent)\b(?:\s*\})?$"), r"\1\\%"),
    (re.compile(r"\\mathbb\s*\{?\s*([RNZQC])\s*\}?"), r"\\mathbb{\1}"),
    (re.compile(r"\\(?:mid|vert)(?![a-zA-Z])"), "|"),
    (re.compile(r"\\backslash(?![a-zA-Z])|\\smallsetminus(?![a-zA-Z])"), r"\\setminus "),
    (re.compile(r"(?<=\d)\s+(?=\d{1,2}:\d{2}$)"), ""),
)
_DIGITS = re.compile(r"[+-]?\d+(?:\.\d+)?")
_EMPTY = re.compile(
    r"(?:\\text\s*\{\s*)?(?:\\emptyset|\\\{\s*\\\}|\(\s*\)|(?:there (?:are|is) )?no (?:real )?solutions?|none"
    r"|(?:the )?empty set|nothing|no such \w+(?: \w+)?)(?:\s*\})?",
    re.IGNORECASE,
)
_LOG = re.compile(rf"\\log\s*_\s*{_ARGUMENT}\s*(?:\(([^()]*)\)|{_ARGUMENT})")


def rewrite(text: str) -> str:
    """The answer in LaTeX's spelling."""
    if _DIGITS.fullmatch(text):
        return text
    for pattern, replacement in _REWRITINGS:
        text = pattern.sub(replacement, text)
    return text


def is_empty_set(text: str) -> bool:
    """Whether an answer says that nothing satisfies the question, in any of the usual ways."""
    return bool(_EMPTY.fullmatch(text.strip()))


def natural_logarithms(text: str) -> str:
    """`\\log_2 3` as `\\frac{\\ln{3}}{\\ln{2}}`, which the parser reads rightly."""

    def natural(match: re.Match[str]) -> str:
        base, inner, plain = match[1].strip("{}"), match[2], match[3]
        value = inner if inner is not None else plain.strip("{}")
        return rf"\frac{{\ln({value})}}{{\ln({base})}}"

    return _LOG.sub(natural, text)


_CONDITION = re.compile(
    r"(?:\s*,)?\s*(?:\\text\s*\{\s*,?\s*\(?\s*(?:for|where|when|whenever|if|with|as long as)\b.*"
    r"|(?<![a-zA-Z\\])(?:for|where|when)\s+(?:all|any|every|each|some)?\s*[a-zA-Z$\\].*"
    r"|[(\[]\s*[a-zA-Z]\s*(?:\\in|\\ge|\\le|\\ne|[<>])\s*[^()\[\]]*[)\]]"
    r"|,\s*[a-zA-Z]\s*\\in\s*\\mathbb\s*\{[RNZQC]\}.*|,\s*[a-zA-Z]\s*(?:\\ge|\\le|\\ne|[<>])q?\s*-?\d+)\s*$"
)


_CONDITION_TEXT = (
    "for where when whenever if with all any every each some real complex positive negative nonnegative non-negative"
    " nonzero non-zero integer integers natural whole rational number numbers constant constants value values of and or is"
    " are an a arbitrary odd even prime parameter the fixed in such that at least most"
)
_CONDITION_WORDS = frozenset(_CONDITION_TEXT.split())
"""All that a condition may say; anything else behind an answer is a remark, and no remark is overlooked."""


_RELATION = re.compile(r"\\(?:le|ge|ne|in|lt|gt)(?![a-zA-Z])|[<>]")


def conditioned(text: str) -> tuple[str, str]:
    """(answer, trailing condition): `2^{n-1}`, `for n >= 1`. A condition alone is no answer and stays."""
    match = _CONDITION.search(text)
    if match is None or "\\begin" in text or not text[: match.start()].strip():
        return text, ""
    condition = match.group().strip()
    if _RELATION.search(text[: match.start()]) and not re.search(
        r"\\text|[a-z]{3}", re.sub(r"\\[a-z]+", "", condition)
    ):
        return text, ""  # `x > 2, x \\ne 3` says two things of one set
    words = re.findall(r"[A-Za-z][A-Za-z-]+", re.sub(r"\\[a-zA-Z]+", " ", condition))
    if any(word.casefold() not in _CONDITION_WORDS for word in words):
        return text, ""
    return text[: match.start()].strip().rstrip(","), condition
