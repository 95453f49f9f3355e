"""The words behind a number: which of them are a unit, which multiply, and which make it no number at all.

An allow list. A tail is a unit if every word of it is one, or if it is a plain noun phrase (`red marbles`); a scale word
(`million`, `dozen`, `万`) in front multiplies. Everything else (a second number, `or`, `and a half`, an ordinal, a verb) is
not read, and then the whole answer is not. Extend UNITS and SCALES by a line each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

SCALES: dict[str, int] = {
    "hundred": 100, "hundreds": 100, "thousand": 1000, "thousands": 1000, "million": 10**6, "millions": 10**6,
    "mn": 10**6, "mio": 10**6, "billion": 10**9, "billions": 10**9, "bn": 10**9, "trillion": 10**12, "trillions": 10**12,
    "dozen": 12, "dozens": 12, "gross": 144, "score": 20, "pair": 2, "pairs": 2, "lakh": 10**5, "lakhs": 10**5,
    "crore": 10**7, "crores": 10**7, "myriad": 10**4,
    "百": 100, "千": 1000, "万": 10**4, "萬": 10**4, "十万": 10**5, "百万": 10**6, "千万": 10**7, "亿": 10**8, "億": 10**8,
    "만": 10**4, "억": 10**8, "tausend": 1000, "mille": 1000, "millones": 10**6, "mil": 1000, "тысяч": 1000,
    "тысячи": 1000, "миллион": 10**6, "миллиона": 10**6, "миллионов": 10**6,
}  # fmt: skip
"""Words that multiply the number in front of them."""

_SAME = (
    "deg degree degrees °", "rad radian radians", "$ dollar dollars usd buck bucks", "¢ cent cents",
    "€ euro euros eur", "£ pound pounds gbp", "¥ yen yuan rmb cny jpy 元 圆 块", "₹ rupee rupees rs inr",
    "m meter meters metre metres 米", "km kilometer kilometers kilometre kilometres kms 千米 公里",
    "cm centimeter centimeters centimetre centimetres cms 厘米",
    "mm millimeter millimeters millimetre millimetres 毫米", "dm decimeter decimeters decimetre decimetres 分米",
    "nm nanometer nanometers", "µm micrometer micrometers micron microns", "in inch inches ″", "ft foot feet ′",
    "yd yard yards yds", "mi mile miles", "s second seconds sec secs 秒", "min minute minutes mins 分钟",
    "h hour hours hr hrs 小时 时", "day days 天 日", "week weeks wk wks 周", "month months 月 个月", "yr year years yrs 年",
    "ms millisecond milliseconds", "g gram grams gm 克", "kg kilogram kilograms kgs kilo kilos 千克 公斤",
    "mg milligram milligrams", "ton tons tonne tonnes 吨", "oz ounce ounces", "lb lbs lb.",
    "L litre litres liter liters 升", "ml millilitre millilitres milliliter milliliters 毫升", "gal gallon gallons",
    "qt quart quarts", "pt pint pints", "cup cups", "acre acres", "ha hectare hectares", "hz hertz", "khz", "mhz",
    "N newton newtons", "J joule joules", "kj kilojoule kilojoules", "W watt watts", "kw kilowatt kilowatts",
    "kwh", "V volt volts", "A amp amps ampere amperes", "ma", "ohm ohms ω", "C celsius", "F fahrenheit",
    "K kelvin", "pa pascal pascals", "kpa", "mpa", "atm", "mol mole moles", "ev", "kev", "mev", "gev", "gyr",
    "kcal", "cal calorie calories", "amu", "ly", "pc", "au", "bit bits", "byte bytes", "kb", "mb", "gb", "t tesla",
    "wb", "db decibel decibels", "people person persons 人 名", "个 個 只 本 张 条 支 件 种 次 块 颗 棵 辆 元素",
)  # fmt: skip
UNITS: dict[str, str] = {word: line.split()[0] for line in _SAME for word in line.split()} | {
    "unit": "", "units": "", "单位": "",
}  # fmt: skip
"""Every known unit word -> the name that stands for it and its synonyms."""
_CASED = {
    "mHz": "millihz", "meV": "milliev", "mPa": "millipa", "Mg": "megag", "Mm": "megam", "Ms": "megas", "Nm": "N-m",
    "NM": "nautical", "Mb": "mbit", "Gb": "gbit", "kb": "kbit", "Kb": "kbit",
}  # fmt: skip
"""Units that differ from another one only by a capital; a millihertz is no megahertz."""
_SPEEDS = {"mph": "mi/h", "kmh": "km/h", "kph": "km/h", "kmph": "km/h", "fps": "ft/s", "rpm": "rev/min"}
_POWERS = {
    "square": "sq",
    "squared": "sq",
    "sq": "sq",
    "sq.": "sq",
    "cubic": "cu",
    "cubed": "cu",
    "cu": "cu",
    "平方": "sq",
    "立方": "cu",
}
_COUNTED_WORDS = (
    "children men women mice geese teeth oxen deer sheep fish ways times sides points each total altogether left "
    "apiece years-old "
)
_COUNTED = frozenset(_COUNTED_WORDS.split())
"""Nouns and closing words that do not end in a plural s."""
_NOT_NOUNS_WORDS = (
    "is was has does goes equals plus minus unless perhaps always sometimes this its his hers ours theirs yours "
    "us thus less across besides towards seems gives makes means works yields needs takes others else versus "
    "halves thirds quarters fifths sixths sevenths eighths ninths tenths elevenths twelfths hundredths "
    "thousandths millionths ones twos threes fours fives sixes sevens eights nines tens twenties thirties zeros "
    "guess guesses as yes multiples factors digits squares cubes roots logs bases powers "
    "negatives inverses reciprocals opposites complements doubles triples quadruples radicals conjugates factorials "
    "exponents bps mils percents percentiles logarithms "
)
_NOT_NOUNS = frozenset(_NOT_NOUNS_WORDS.split())
"""Words on s that are no counted nouns, or that change the number."""
_FUNCTION_WORDS = (
    "a an the and or nor not no but if of to by from with without for than then about around roughly almost "
    "nearly maybe possibly probably either neither both except minus plus over under above below between at on up "
    "down off i we you he she it they one two three four five six seven eight nine ten eleven twelve half third "
    "quarter mod modulo base choose root factorial percent percentage pct pi e answer correct wrong false true could should "
    "would may might first second-last negative positive more fewer another wait actually "
)
_FUNCTION = frozenset(_FUNCTION_WORDS.split())


@dataclass(frozen=True, slots=True)
class Tail:
    """What stands behind a number: `scale` multiplies it, `unit` is canonical ("" for none or for counted things)."""

    scale: Fraction
    unit: str


_WORD = re.compile(r"[A-Za-zµωΩ°'’.-]+|[\u4e00-\u9fff\uac00-\ud7af]+|[а-яА-Я]+|[$€£¥₹¢″′]|\^?\d|/|·|\*|-")
_FRAC = re.compile(r"\\frac\s*\{\s*\{?([^{}]*)\}?\s*\}\s*\{\s*\{?([^{}]*)\}?\s*\}")
_AS_MANY = re.compile(r"\btimes\s+as\s+(?:many|much|long|large|big|old|tall|heavy|fast|far|often|great|likely)\b")


def read(text: str) -> Tail | None:
    """The tail of a number, with LaTeX's text commands or without; None for words that are no unit."""
    text = re.sub(r"\\(?:text|mathrm|rm|operatorname)\b", " ", text)
    text = (
        _FRAC.sub(r"\1/\2", text)
        .replace(r"\cdot", " ")
        .replace(r"\$", " $ ")
        .replace("^\\circ", " °")
        .replace("^{\\circ}", " °")
    )
    if "\\" in text or re.search(r"[<>=≤≥+!?:;|]", text):
        return None
    bare = _AS_MANY.sub("times", re.sub(r"[{}()\[\]~]", " ", text)).strip(" .,")
    if not bare:
        return Tail(Fraction(1), "")
    words = bare.replace("**", "^").split()
    scale = Fraction(1)
    while words and (factor := _scale(words)) is not None:
        scale *= factor
    if not words:
        return Tail(scale, "")
    if words[0].casefold() in ("of", "in") and len(words) > 1 and words[1].casefold() in ("all", "total"):
        words = words[2:]
    unit = _unit(words)
    if unit is not None:
        return Tail(scale, unit)
    return Tail(scale, _noun(words)) if _noun_phrase(words) else None


def _noun(words: list[str]) -> str:
    """What a noun phrase counts, as a unit of its own: `#apple` for `red apples`."""
    last = words[-1].strip(".,").casefold()
    if last in _COUNTED:
        return ""
    return "#" + (
        last[:-3] + "y" if last.endswith("ies") else last[:-2] if last.endswith(("ches", "shes", "xes")) else last[:-1]
    )


def _scale(words: list[str]) -> int | None:
    """Takes a scale word from the front; one glued to a unit (`万元`) leaves the unit."""
    first = words[0].casefold()
    for length in range(len(first), 0, -1):
        if first[:length] in SCALES and (length == len(first) or ord(first[0]) > 0x2FFF):
            words[:1] = [words[0][length:]] if length < len(first) else []
            return SCALES[first[:length]]
    return None


def _unit(words: list[str]) -> str | None:
    """The canonical unit of words that are all known: `sq cm` and `cm^2` are `cm2`, `miles per hour` is `mi/h`."""
    pieces = [p for word in words for p in re.findall(r"[^\s/*·^\d-]+|\^?-?\d|/|[*·-]", word)]
    found: list[str] = []
    power = ""
    for piece in pieces:
        word = piece.strip(".").casefold() if len(piece.strip(".")) > 0 else piece
        if word in ("per", "a", "each", "every", "/", "每") and found:
            found.append("/")
        elif word in ("*", "·", "-") or (word == "old" and found[-1:] == ["yr"]):
            continue
        elif re.fullmatch(r"\^?-?\d", word):
            if not found:
                return None
            found[-1] += word.lstrip("^")
        elif word in _POWERS:
            if word in ("squared", "cubed"):
                if not found:
                    return None
                found[-1] += "2" if word == "squared" else "3"
            else:
                power = "2" if _POWERS[word] == "sq" else "3"
        elif piece in _CASED:
            found.append(_CASED[piece] + power)
            power = ""
        elif word in _SPEEDS:
            found.append(_SPEEDS[word])
        elif piece in UNITS or (len(word) > 1 and word in UNITS):
            found.append(UNITS.get(piece, UNITS.get(word, "")) + power)
            power = ""
        elif word in (
            "day",
            "night",
            "item",
            "student",
            "customer",
            "person",
            "trip",
            "box",
            "pack",
            "serving",
        ) and found[-1:] == ["/"]:
            found.append(word)
        else:
            return None
    if power:
        found.append("unit" + power)
    text = "".join(found).strip("/")
    return "" if text in ("", "unit2", "unit3", "2", "3") or set(text) <= {"个"} else text


def _noun_phrase(words: list[str]) -> bool:
    """`apples`, `red marbles`, `different ways`: one to three plain words, the last a plural, none a function word."""
    plain = [w.strip(".,").casefold() for w in words]
    if len(plain) > 3 or any(not re.fullmatch(r"[a-z][a-z'’-]+", w) for w in plain):
        return False
    if any(w in _FUNCTION or w in _NOT_NOUNS or w in SCALES for w in plain):
        return False
    last = plain[-1]
    return last in _COUNTED or last in UNITS or (last.endswith("s") and not last.endswith(("ss", "'s", "’s", "ths")))
