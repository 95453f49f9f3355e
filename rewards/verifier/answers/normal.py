"""Answer strings in, tidied answer strings out: one spelling for what LaTeX and Unicode write in many ways.

Nothing here decides equality and nothing evaluates; every function is linear in the length of its input.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache

from rewards.verifier.answers import plain, units
from rewards.verifier.answers.unwrapped import unwrap

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ", "0123456789-n")
_SUPER_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ]+")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉ₙ", "0123456789n")
_SUB_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉ₙ]+")
_FRACTIONS = {
    "⅜": "3/8",
    "⅝": "5/8",
    "⅞": "7/8",
    "⅖": "2/5",
    "⅗": "3/5",
    "⅘": "4/5",
    "⅚": "5/6",
    "⅐": "1/7",
    "⅑": "1/9",
    "⅒": "1/10",
    "½": "1/2",
    "⅓": "1/3",
    "⅔": "2/3",
    "¼": "1/4",
    "¾": "3/4",
    "⅕": "1/5",
    "⅙": "1/6",
    "⅛": "1/8",
}
_SYMBOLS = {
    "—": "-", "―": "-", "‑": "-",
    "−": "-", "–": "-", "‐": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "∕": "/",
    "⁄": "/", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ",
    "±": r"\pm ", "∓": r"\mp ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "°": r"^\circ ", "√": r"\sqrt ",
    "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "φ": r"\phi ", "ω": r"\omega ",
    "λ": r"\lambda ", "∠": r"\angle ", "′": "'", "⩾": r"\ge ", "⩽": r"\le ", "≧": r"\ge ", "≦": r"\le ",
    "º": r"^\circ ", "ℝ": r"\mathbb{R} ", "或": r" or ", "和": " and ", "且": " and ", "、": ", ", "，": ", ",
    "；": "; ", "∶": ":", "：": ":", "∨": r"\vee ", "∧": r"\wedge ", "∖": r"\setminus ", "∛": r"\sqrt[3] ",
    "∜": r"\sqrt[4] ", "⇒": r"\Rightarrow ", "∅": r"\emptyset ", "⟨": r"\langle ", "⟩": r"\rangle ",
    "掳": r"^\circ ",
}  # fmt: skip
_UNICODE = re.compile("|".join(map(re.escape, [*_SYMBOLS, *_FRACTIONS])))
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_DELIMITERS = re.compile(r"(?<!\\)\\[()\[\]]|(?<!\\)\$")
_SIZES = re.compile(
    r"\\(?:left|right|bigl?|bigr?|Bigl?|Bigr?|biggl?|biggr?|displaystyle|textstyle|limits)(?![a-zA-Z])\.?"
)
_SPACES = re.compile(r"(?<!\\)\\(?:[,;:! ]|quad\b|qquad\b|thinspace\b|hspace\{[^{}]*\})|~")
_DIGIT_GAP = re.compile(r"(?<=\d)(?:\\[,;:!]|\{,\}|,\\!|\\ )+(?=\d{3}(?!\d))")
_FONTS = re.compile(
    r"\\(?:mathrm|mathit|mathbf|mathsf|mathtt|boldsymbol|bm|rm|bf|it|textbf|textit|textrm|textsf|textup|mbox|hbox|operatorname\*?)\b\s*"
)
_FUNCTION = re.compile(r"\\text\s*\{\s*(sin|cos|tan|cot|sec|csc|ln|log|exp|arcsin|arccos|arctan|max|min|gcd|lcm)\s*\}")
_BARE_TEXT = re.compile(r"\\text(?![a-zA-Z]|\s*\{)\s*")
_TEXT_LETTER = re.compile(r"\\text\{\s*([A-Za-z])\s*\}")
_NAMES = {"dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "leq": "le", "geq": "ge", "leqslant": "le", "geqslant": "ge",
          "neq": "ne", "lbrace": "{", "rbrace": "}", "lbrack": "[", "rbrack": "]", "to": "rightarrow", "degree": "^\\circ",
          "dots": "ldots", "cdots": "ldots", "land": "wedge", "varnothing": "emptyset", "dbinom": "binom", "tbinom": "binom",
          "arcsin": "arcsin", "lvert": "|", "rvert": "|", "vert": "|"}  # fmt: skip
_COMMAND = re.compile(r"\\([a-zA-Z]+)")
_ALREADY = {
    "lbrace": r"\{",
    "rbrace": r"\}",
    "lbrack": "[",
    "rbrack": "]",
    "degree": r"^\circ",
    "lvert": "|",
    "rvert": "|",
    "vert": "|",
    "langle": "(",
    "rangle": ")",
}
_FRAC_ARGS = re.compile(
    r"\\frac(?:\s*(\d)|\s+([a-zA-Z])|\s*(\\pi)(?![a-zA-Z]))\s*(?:(?=\{)|([0-9a-zA-Z])|(\\pi)(?![a-zA-Z]))"
)
_FRAC_SECOND = re.compile(r"(\\frac\s*\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})\s*([0-9a-zA-Z])")
_SQRT_ARG = re.compile(r"\\sqrt\s*(\d+|[a-zA-Z]|\\pi\b)")
_SQRT_PAREN = re.compile(r"\\sqrt\s*\(([^()]*)\)")
_PLAIN_WORDS = (
    "sqrt pi infty infinity Infinity inf theta alpha beta gamma lambda sin cos tan cot sec csc sinh cosh tanh ln log lg"
    " arcsin arccos arctan max min gcd lcm"
)
_PLAIN = re.compile(rf"(?<![\\a-zA-Z])(?:({'|'.join(_PLAIN_WORDS.split())})(?![a-zA-Z])|(a(?:sin|cos|tan))(?=\s*\())")
_INFINITE = re.compile(r"\\text\s*\{\s*([-+]?)\s*(?:[Ii]nfinity|infty|∞)\s*\}")
_CALLED = re.compile(r"(?<![\\a-zA-Z])(abs|floor|ceil|ceiling|log2|log10|sqrt)\s*\(([^()]*(?:\([^()]*\)[^()]*)*)\)")
_CALLS = {
    "abs": r"|\1|", "floor": r"\lfloor \1\rfloor ", "ceil": r"\lceil \1\rceil ", "ceiling": r"\lceil \1\rceil ",
    "log2": r"\log_{2}(\1)", "log10": r"\log_{10}(\1)", "sqrt": r"\sqrt{\1}",
}  # fmt: skip
"""Functions that plain text calls, and how LaTeX writes them; `\1` stands for the argument."""
_SEPARATOR = re.compile(r"\\text\{\s*,?\s*(?:and|or)\s*\}|\s*,?\s+(?:and|or)\s+", re.IGNORECASE)
_TRAILING = re.compile(r"(?:[\s.,;:]|\\\\)+$")
_MARKDOWN = re.compile(r"^\*{1,3}(.+?)\*{1,3}$|^_{1,2}(.+?)_{1,2}$|^`(.+?)`$", re.DOTALL)


def printable(text: str) -> str:
    """Without control, zero-width and direction characters, which could hide what a reader sees."""
    return _INVISIBLE.sub("", text)


@lru_cache(maxsize=4096)
def clean(text: str) -> str:
    """One spelling of an answer: no delimiters, sizes, fonts or spacing commands; braces around arguments."""
    text = _INFINITE.sub(r"\1\\infty ", unwrap(printable(text).strip()))
    text = _SUB_RUN.sub(lambda m: "_{" + m.group().translate(_SUBSCRIPTS) + "}", text)
    text = _SUPER_RUN.sub(lambda m: "^{" + m.group().translate(_SUPERSCRIPTS) + "}", text)
    text = _UNICODE.sub(
        lambda m: _SYMBOLS.get(m.group()) or r"\frac{{{}}}{{{}}}".format(*_FRACTIONS[m.group()].split("/")), text
    )
    text = unicodedata.normalize("NFKC", text)
    match = _MARKDOWN.match(text)
    if match:
        text = next(g for g in match.groups() if g).strip()
    text = plain.rewrite(_DELIMITERS.sub("", text))
    text = _DIGIT_GAP.sub("", text)
    text = _SIZES.sub("", text)
    text = _SPACES.sub(" ", text)
    text = _FONTS.sub(r"\\text", text)
    text = _COMMAND.sub(_rename, text)
    text = _BARE_TEXT.sub("", _FUNCTION.sub(r"\\\1", _TEXT_LETTER.sub(_letter, text)))
    text = _CALLED.sub(lambda m: _CALLS[m[1]].replace(r"\1", m[2]), text)
    text = _PLAIN.sub(_command, text)
    text = _arguments(text)
    text = _TRAILING.sub("", text).lstrip(" :=").strip()
    return re.sub(r"\s+", " ", text)


def _command(match: re.Match[str]) -> str:
    word = match[1] or "arc" + match[2][1:]
    return "\\infty " if word.lower().startswith("inf") else "\\" + word


def _letter(match: re.Match[str]) -> str:
    """A letter set as text: behind a number a unit, apart from it; e and i are numbers."""
    return (
        match[1] if match[1] in "eEi" or not re.search(r"[\d}]\s*$", match.string[: match.start()]) else " " + match[1]
    )


def _rename(match: re.Match[str]) -> str:
    name = match.group(1)
    return _ALREADY.get(name) or "\\" + _NAMES.get(name, name)


def _arguments(text: str) -> str:
    """`\\frac43`, `\\sqrt2` and `\\sqrt(2)` with braces."""
    text = _FRAC_ARGS.sub(_frac, text)
    text = _FRAC_SECOND.sub(r"\1{\2}", text)
    text = _SQRT_PAREN.sub(r"\\sqrt{\1}", text)
    return _SQRT_ARG.sub(r"\\sqrt{\1}", text)


def _frac(match: re.Match[str]) -> str:
    digit, letter, name, second, second_name = match.groups()
    bottom = second or second_name
    return rf"\frac{{{digit or letter or name}}}" + (f"{{{bottom}}}" if bottom else "")


def separators(text: str) -> str:
    """`and` and `or` between answers as commas."""
    return _SEPARATOR.sub(", ", text)


_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_ARTICLE = re.compile(
    r"^(?:(?:a|an|the)\s+(?=\w{2})|on\s+(?:a\s+)?(?=(?:mon|tues|wednes|thurs|fri|satur|sun)day$))", re.IGNORECASE
)


@lru_cache(maxsize=4096)
def words(text: str) -> str:
    """For comparing words: unwrapped, case-folded, without quotes, outer brackets and punctuation."""
    text = _TEXT.sub(r" \1 ", clean(text))
    text = re.sub(r"[\s\"'`“”‘’*]+", " ", text).strip(" .,:;").casefold()
    text = re.sub(r"(?<=[a-z])!+$", "", text)
    if len(text) > 2 and text[0] + text[-1] in ("()", "[]", "{}") and not re.search(r"[()\[\]{}]", text[1:-1]):
        text = text[1:-1].strip()
    text = _ARTICLE.sub("", text)
    return re.sub(r"\\(?=[%$&#_])", "", text)


def squeeze(text: str) -> str:
    """For comparing LaTeX as written: without blanks and needless braces. Blanks that part words or numbers stay."""
    text = re.sub(r"(?<![\da-zA-Z])\s+|\s+(?![\da-zA-Z])", "", text)
    text = re.sub(r"(?<![a-zA-Z\\])(?<!\d)([a-zA-Z]) (?=[\da-zA-Z](?![a-zA-Z]))", r"\1", text)
    return re.sub(r"([_^])\{(\w)\}", r"\1\2", text)


_TAIL = re.compile(
    r"(?P<tail>(?:\s*(?:\\text\s*\{[^{}]*\}|\\frac\s*\{\s*\\text[^{}]*\{[^{}]*\}\s*\}\s*\{\s*\\text[^{}]*\{[^{}]*\}\s*\}"
    r"|\\frac\s*\{\s*[a-zA-Z]{1,2}\s*\}\s*\{\s*[a-zA-Z]{1,3}\s*\}|\\\$"
    r"|\^\s*(?:\{\s*(?:\\circ|-?\d)\s*\}|\\circ|-?\d)|(?<![a-zA-Z\\])[A-Za-zµΩ][A-Za-z.'’-]*|[一-鿿가-힯]+|[а-яА-Я]+|[€£¥₹¢″′/]|\\cdot))+)\s*$"
)
_LEADING_MONEY = re.compile(r"^([+-]?)\s*(?:US|A|C|HK|NZ)?\s*(\\?\$|€|£|¥|₹|USD|RMB|Rs\.?)\s*([+-]?)(?=[\d.])")
_NUMBER = re.compile(r"[+-]?\s*(?:\d|\.\d|\\frac\s*\{\s*[+-]?\d|\\d?frac)")


def split_unit(text: str) -> tuple[str, str]:
    """(value, unit) of a cleaned answer; ("", "") changes nothing. Scale words are left with the value (see `scaled`)."""
    value, tail = split_tail(text)
    return (text, "") if tail is None or tail.scale != 1 else (value, tail.unit)


def split_tail(text: str) -> tuple[str, units.Tail | None]:
    """The value of a cleaned answer and what stands around it; None where words stand that are no unit."""
    unit = ""
    money = _LEADING_MONEY.match(text)
    if money:
        text, unit = (
            (money[1] or money[3]) + text[money.end() :],
            units.UNITS.get(money[2].lstrip("\\").casefold(), "$"),
        )
    found = _TAIL.search(text)
    if found is None or found.start() == 0:
        return text, units.Tail(Fraction(1), unit)
    value, words = text[: found.start()].rstrip(), found["tail"]
    if not value or not re.search(r"\d|\\pi|\\sqrt", value) or value[-1] in "_^\\":
        return text, units.Tail(Fraction(1), unit)
    if re.fullmatch(r"\s*[a-zA-Z]\s*", words) and not text[found.start()].isspace() and words.strip() not in "mgLsh":
        return text, units.Tail(Fraction(1), unit)
    tail = units.read(words)
    if tail is None:
        return text, None if re.search(r"\\text|[A-Za-z]{2,}|[一-鿿]", words) else units.Tail(Fraction(1), unit)
    return value, units.Tail(tail.scale, unit or tail.unit)
