"""Answer strings in, tidied answer strings out: one spelling for what LaTeX and Unicode write in many ways.

Nothing here decides equality and nothing evaluates; every function is linear in the length of its input.
"""

from __future__ import annotations

import re
import unicodedata

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ", "0123456789-n")
_SUPER_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁿ]+")
_FRACTIONS = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅙": "1/6", "⅛": "1/8"}
_SYMBOLS = {
    "−": "-", "–": "-", "‐": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "∕": "/", "⁄": "/",
    "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "±": r"\pm ",
    "∓": r"\mp ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "°": r"^\circ ", "√": r"\sqrt ", "θ": r"\theta ",
    "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "φ": r"\phi ", "ω": r"\omega ", "λ": r"\lambda ", "∠": r"\angle ",
    "′": "'", "∅": r"\emptyset ", "⟨": r"\langle ", "⟩": r"\rangle ",
    # what three MathVerse golds hold for a degree sign
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
}
_FRAC_ARGS = re.compile(
    r"\\frac(?:\s*(\d)|\s+([a-zA-Z])|\s*(\\pi)(?![a-zA-Z]))\s*(?:(?=\{)|([0-9a-zA-Z])|(\\pi)(?![a-zA-Z]))"
)
_FRAC_SECOND = re.compile(r"(\\frac\s*\{[^{}]*\})\s*([0-9a-zA-Z])")
_SQRT_ARG = re.compile(r"\\sqrt\s*(\d+|[a-zA-Z]|\\pi\b)")
_SQRT_PAREN = re.compile(r"\\sqrt\s*\(([^()]*)\)")
_PLAIN = re.compile(
    r"(?<![\\a-zA-Z])(sqrt|pi|infty|infinity|theta|sin|cos|tan|ln|log|arcsin|arccos|arctan)(?![a-zA-Z])"
)
_SEPARATOR = re.compile(r"\\text\{\s*,?\s*(?:and|or)\s*\}|\s*,?\s+(?:and|or)\s+", re.IGNORECASE)
_TRAILING = re.compile(r"(?:[\s.,;:]|\\\\)+$")
_MARKDOWN = re.compile(r"^\*{1,3}(.+?)\*{1,3}$|^_{1,2}(.+?)_{1,2}$|^`(.+?)`$", re.DOTALL)


def printable(text: str) -> str:
    """Without control, zero-width and direction characters, which could hide what a reader sees."""
    return _INVISIBLE.sub("", text)


def clean(text: str) -> str:
    """One spelling of an answer: no delimiters, sizes, fonts or spacing commands; braces around arguments."""
    text = printable(text).strip()
    text = _SUPER_RUN.sub(lambda m: "^{" + m.group().translate(_SUPERSCRIPTS) + "}", text)
    text = _UNICODE.sub(lambda m: _SYMBOLS.get(m.group()) or " " + _FRACTIONS[m.group()], text)
    text = unicodedata.normalize("NFKC", text)
    match = _MARKDOWN.match(text)
    if match:
        text = next(g for g in match.groups() if g).strip()
    text = _DELIMITERS.sub("", text)
    text = _DIGIT_GAP.sub("", text)
    text = _SIZES.sub("", text)
    text = _SPACES.sub(" ", text)
    text = _FONTS.sub(r"\\text", text)
    text = _COMMAND.sub(_rename, text)
    text = _BARE_TEXT.sub("", _FUNCTION.sub(r"\\\1", _TEXT_LETTER.sub(r"\1", text)))
    text = _PLAIN.sub(lambda m: "\\" + ("infty" if m.group().startswith("inf") else m.group()), text)
    text = _arguments(text)
    text = _TRAILING.sub("", text).lstrip(" :=").strip()
    return re.sub(r"\s+", " ", text)


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


def words(text: str) -> str:
    """For comparing words: unwrapped, case-folded, without quotes, outer brackets and punctuation."""
    text = _TEXT.sub(r" \1 ", clean(text))
    text = re.sub(r"[\s\"'`“”‘’*]+", " ", text).strip(" .,:;!?").casefold()
    if len(text) > 2 and text[0] + text[-1] in ("()", "[]", "{}") and not re.search(r"[()\[\]{}]", text[1:-1]):
        text = text[1:-1].strip()
    return re.sub(r"\\(?=[%$&#_])", "", text)


def squeeze(text: str) -> str:
    """For comparing LaTeX as written: without blanks and needless braces. Blanks that part words or numbers stay."""
    text = re.sub(r"(?<![\da-zA-Z])\s+|\s+(?![\da-zA-Z])", "", text)
    text = re.sub(r"(?<![a-zA-Z\\])(?<!\d)([a-zA-Z]) (?=[\da-zA-Z](?![a-zA-Z]))", r"\1", text)
    return re.sub(r"([_^])\{(\w)\}", r"\1\2", text)


_UNIT_WORD = (
    r"(?:degrees?|deg|radians?|rad|percent|dollars?|cents?|euros?|rupees?|yuan|pounds?|lbs?|ounces?|oz|tons?|kg|mg|g|grams?|kilograms?"
    r"|km|cm|mm|nm|dm|m|meters?|metres?|kilometers?|kilometres?|centimeters?|centimetres?|millimeters?|millimetres?|miles?|mi|feet|foot|ft"
    r"|inch(?:es)?|in|yards?|yd|seconds?|secs?|s|ms|minutes?|mins?|min|hours?|hrs?|h|days?|weeks?|months?|years?|yrs?"
    r"|litres?|liters?|L|ml|mL|gallons?|mph|kmh|km/h|m/s|cm/s|units?|square|sq|cubic|Hz|kHz|J|kJ|N|W|kW|V|A|K|C|F|Pa|kPa|atm|mol|eV|keV|Gyr"
    r"|kcal|cal|people|persons?|students?|ways?|times|points?|sides?|cm2|m2|cm3|m3)"
)
_UNIT_TAIL = re.compile(rf"(?<![a-zA-Z\\])(?:{_UNIT_WORD}(?:\s*\^\s*\{{?-?\d\}}?)?[\s./]*)+$")
_TEXT_TAIL = re.compile(r"(?:\s*\\text\s*\{[^{}]*\}\s*(?:\^\s*\{?-?\d\}?)?|\s*\{[a-z ]{3,}\})+\s*$")
_DEGREE_TAIL = re.compile(r"\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ)\s*[CFK]?\s*$")
_CURRENCY = re.compile(r"^(-?)\s*(?:\\\$|\$|€|£|¥|USD|Rs\.?)\s*")
_COUNTED = re.compile(r"([+-]?[\d.,]*\d)\s+([A-Za-z]{3,}(?:\s[A-Za-z]+){0,2})")
_OPERATION = re.compile(
    r"(?<![a-z])(?:million|billion|trillion|thousands?|hundreds?|dozens?|pairs?|half|halves|thirds?|quarters?|squared|cubed|factorial|plus"
    r"|minus|times the|over|divided|per ?cent|percent|not|or|and|root|pi|e|i|mod|base|choose|to)(?![a-z])"
)


def split_unit(text: str) -> tuple[str, str]:
    """(value, unit) of a cleaned answer. Words that change the number (million, squared, percent) are no unit."""
    unit = ""
    money = _CURRENCY.match(text)
    if money and re.match(r"[\d.]", text[money.end() :]):
        text, unit = money.group(1) + text[money.end() :], "$"
    for tail in (_DEGREE_TAIL, _TEXT_TAIL):
        found = tail.search(text)
        if found and found.start() > 0 and not _OPERATION.search(_plain_unit(found.group())):
            text, unit = text[: found.start()].rstrip(), unit or _plain_unit(found.group())
    found = _UNIT_TAIL.search(text)
    if (
        found
        and found.start() > 0
        and re.match(r"[\d)}\s]", text[found.start() - 1])
        and re.search(r"\d", text[: found.start()])
    ):
        text, unit = text[: found.start()].rstrip(), unit or _plain_unit(found.group())
    counted = _COUNTED.fullmatch(text)
    if counted and not _OPERATION.search(counted[2].casefold()):
        text, unit = counted[1], unit or _plain_unit(counted[2])
    return text, unit


_SAME_UNITS = (
    "deg degree degrees", "$ dollar dollars usd",
    "m meter meters metre metres", "km kilometer kilometers kilometre kilometres",
    "cm centimeter centimeters centimetre centimetres", "in inch inches", "ft foot feet", "h hour hours hr hrs",
    "min minute minutes mins",
    "s second seconds sec secs", "sq square", "yr year years yrs", "g gram grams", "kg kilogram kilograms",
)  # fmt: skip
_CANONICAL = {"unit": "", "units": ""} | {name: line.split()[0] for line in _SAME_UNITS for name in line.split()}


def _plain_unit(text: str) -> str:
    """A unit for comparison: letters, digits and slashes, singular, `cm^{2}` as `cm2`, `square cm` as `sqcm`."""
    if "\\circ" in text:
        return "deg" + re.sub(r".*circ\s*\}?", "", text).strip()
    text = re.sub(r"\\text|[{}^\\]", " ", text).casefold()
    parts = [_CANONICAL.get(w, w) for w in re.findall(r"[a-z$]+|\d|/|-", text)]
    return "".join(parts)
