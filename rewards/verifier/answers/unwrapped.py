"""A marked answer in, the same without what only dresses it out: colours, sizes, tags, fences, one-cell environments.

Nothing that could be part of a value is removed: a wrapper goes only with its own braces, an introduction only if it says
that the answer follows. Linear for a bounded number of wrappers.
"""

from __future__ import annotations

import re

_FENCE = re.compile(r"^\s*```[A-Za-z+]*\s*\n?(.*?)\n?\s*```\s*$", re.DOTALL)
_COLOUR = re.compile(r"\\(?:textcolor|color|colorbox)\s*(?:\[[^\]]*\])?\s*\{[^{}]*\}")
_SIZE = re.compile(
    r"\\(?:tiny|scriptsize|footnotesize|small|normalsize|large|Large|LARGE|huge|Huge|bfseries|itshape|mathstrut|strut|nonumber|notag)"
    r"(?![a-zA-Z])"
)
_TAG = re.compile(r"\\(?:tag\*?|label|phantom|vphantom|hphantom|vspace\*?|hspace\*?)\s*\{[^{}]*\}")
_MARKED = re.compile(r"\\(?:underline|overbrace|underbrace|uline|emph|textnormal|textmd|text|mathord|ensuremath)\s*\{")
_PLAIN_MARK = re.compile(r"\\(?:underline|uline|emph|ensuremath|mathord)\s*(?=\{)")
_CELL = re.compile(
    r"^\s*\\begin\s*\{(aligned|align\*?|gathered|gather\*?|equation\*?|split|array|displaymath|math|center)\}"
    r"(?:\s*\{[lcr|]*\})?(.*)\\end\s*\{\1\}\s*$",
    re.DOTALL,
)
_INTRODUCTION = re.compile(
    r"^\s*(?:\\(?:text|mathrm|mathbf|textbf)\s*\{\s*)?(?:(?:so|thus|hence|therefore),?\s+)?(?:the\s+)?(?:final\s+|correct\s+)?"
    r"(?:answer|solution|result|option|choice)(?:\s+is|\s*[:：=])\s*:?\s*(?:\}\s*)?(?=\S)",
    re.IGNORECASE,
)
_QUOTES = re.compile(r"^\s*(?:\"([^\"]*)\"|'([^']*)'|“([^”]*)”|‘([^’]*)’|``([^']*)''|「([^」]*)」)\s*$")
_ALL_TEXT = re.compile(r"^\s*\\(?:text|textnormal|mathrm|mathbf|textrm|textbf|mbox)\s*\{([^{}]*\d[^{}]*)\}\s*$")
_ROUNDS = 6
_DOUBLED = re.compile(r"\\\\(?=[a-zA-Z{}()\[\]|,;!%$])")
_SINGLE = re.compile(r"(?<!\\)\\(?:[a-zA-Z]|[{}()\[\]])")


def single(text: str) -> str:
    """`\\\\frac{1}{4}`, copied from source code, with one backslash; where one stands alone, two part the rows of a matrix."""
    return text if _SINGLE.search(text) else _DOUBLED.sub(r"\\", text)


def unwrap(text: str) -> str:
    """The answer without wrappers; what is left is what was written inside them."""
    text = single(text)
    for _ in range(_ROUNDS):
        before = text
        text = _once(text)
        if text == before:
            break
    return text


def _once(text: str) -> str:
    for pattern in (_FENCE, _ALL_TEXT):
        if (match := pattern.match(text)) is not None:
            text = match[1]
    if (
        (match := _CELL.match(text)) is not None
        and "&" not in match[2].replace("&=", "=")
        and r"\\" not in match[2].strip()
    ):
        text = match[2].replace("&=", "=")
    if (match := _QUOTES.match(text)) is not None:
        text = next(g for g in match.groups() if g is not None)
    text = _COLOUR.sub("", _SIZE.sub("", _TAG.sub("", text)))
    text = text.replace(r"\textnormal", r"\text")
    text = _PLAIN_MARK.sub("", text)
    return _INTRODUCTION.sub("", text, count=1)
