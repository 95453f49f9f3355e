"""LaTeX in, a number at given values of its names out: a small evaluator that shares no code with math_verify or sympy.

Used as a second opinion on the strict rule (`audit`) and by benchmark rules that compare decimals. Exact for rational
arithmetic, else double precision. Everything is capped, so that it returns or raises within milliseconds.
"""

from __future__ import annotations

import cmath
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

Number = Fraction | complex
Value = Callable[[Mapping[str, Number]], Number]

MAX_LENGTH = 600
MAX_BITS = 4000
"""Size of an exact number before it becomes a double."""
_TOKEN = re.compile(
    r"\s*(?:(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?[eE]\d{1,3}(?![\d.a-zA-Z])|\d+(?:\.(?![a-zA-Z])\d*)?|\.\d+)|\\([a-zA-Z]+)|([a-zA-Z])|(\\?[{}()\[\]|%]|[-+*/^_!:'])|(.))",
    re.DOTALL,
)
_GREEK = re.compile(
    r"alpha|beta|gamma|delta|(?:var)?epsilon|zeta|eta|(?:var)?theta|iota|kappa|lambda|mu|nu|xi|rho|sigma|tau|upsilon|(?:var)?phi"
    r"|chi|psi|omega|hbar|ell|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Phi|Psi|Omega"
)
_ONE: Mapping[str, Callable[[complex], complex]] = {
    "sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "ln": cmath.log, "exp": cmath.exp,
    "sinh": cmath.sinh, "cosh": cmath.cosh, "tanh": cmath.tanh, "arcsin": cmath.asin, "arccos": cmath.acos, "arctan": cmath.atan,
    "sec": lambda x: 1 / cmath.cos(x), "csc": lambda x: 1 / cmath.sin(x), "cot": lambda x: 1 / cmath.tan(x),
}  # fmt: skip
_CLOSING = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}


class UnreadableError(ValueError):
    """Not an expression of the small language, or a value that has no number."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A function of its names; `names` in order of the alphabet."""

    value: Value
    names: tuple[str, ...]


@lru_cache(maxsize=4096)
def parse(text: str, prefix: bool = False) -> Parsed:
    """The string as one expression; with `prefix` the longest beginning of it that is one.

    Raises UnreadableError, also where a relation or a list goes on behind the prefix.
    """
    if len(text) > MAX_LENGTH:
        raise UnreadableError("too long")
    reader = _Reader(text, prefix)
    try:
        value = reader.sum()
    except RecursionError as error:
        raise UnreadableError("too deep") from error
    if reader.place < len(reader.tokens) and (not prefix or reader.peek()[1] in "<>=,"):
        raise UnreadableError(text)
    return Parsed(value, tuple(sorted(reader.names)))


def at(parsed: Parsed, names: Mapping[str, Number]) -> Number:
    """The value; raises UnreadableError where there is none (a pole, an overflow)."""
    try:
        found = parsed.value(names)
    except (ZeroDivisionError, OverflowError, ValueError, KeyError) as error:
        raise UnreadableError(str(error)) from error
    if isinstance(found, complex) and not cmath.isfinite(found):
        raise UnreadableError("not finite")
    return found


class _Reader:
    """Recursive descent: sum > product > signed > power > postfix > atom. Juxtaposition multiplies."""

    def __init__(self, text: str, prefix: bool = False) -> None:
        self.tokens: list[tuple[str, str]] = []
        self.place = 0
        self.names: set[str] = set()
        for match in _TOKEN.finditer(text.strip()):
            place, found = next((i, t) for i, t in enumerate(match.groups()) if t is not None)
            kind = "nclm?"[place]
            if kind == "?" and not prefix:
                raise UnreadableError(found)
            self.tokens.append((kind, found))

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.place] if self.place < len(self.tokens) else ("", "")

    def take(self, text: str = "") -> str:
        found = self.peek()[1]
        if not found or (text and found != text):
            raise UnreadableError(f"wanted {text or 'more'}")
        self.place += 1
        return found

    def sum(self) -> Value:
        value = self.product()
        while self.peek()[1] in ("+", "-") and self.peek()[0] == "m":
            sign, right = self.take(), self.product()
            value = _add(value, right, 1 if sign == "+" else -1)
        return value

    def product(self) -> Value:
        value = self.signed()
        while True:
            kind, text = self.peek()
            if (kind, text) in (("m", "*"), ("c", "cdot"), ("c", "times")):
                self.take()
                value = _multiply(value, self.signed())
            elif (kind, text) in (("m", "/"), ("m", ":"), ("c", "div")):
                self.take()
                value = _divide(value, self.denominator() if text == "/" else self.signed())
            elif self._starts_atom(kind, text):
                if kind == "n" and self.tokens[self.place - 1][0] == "n":
                    # two numbers side by side are a slip, not a product
                    raise UnreadableError("number after a factor")
                value = _multiply(value, self.power())
            else:
                return value

    def denominator(self) -> Value:
        """Behind a slash, names side by side belong together: `a/bc` is `a/(bc)`."""
        value = self.signed()
        while self.peek()[0] == "l" or (self.peek()[0] == "c" and _GREEK.fullmatch(self.peek()[1])):
            value = _multiply(value, self.power())
        return value

    @staticmethod
    def _starts_atom(kind: str, text: str) -> bool:
        return (
            kind in ("n", "l")
            or (kind == "c" and text not in ("cdot", "times", "div", "right", "rfloor", "rceil"))
            or text in ("(", "{", "[")
        )

    def signed(self) -> Value:
        if self.peek() in (("m", "-"), ("m", "+")):
            sign, value = self.take(), self.signed()
            return _multiply(_constant(Fraction(-1 if sign == "-" else 1)), value)
        return self.power()

    def power(self) -> Value:
        value = self.postfix()
        if self.peek() == ("m", "^"):
            self.take()
            value = _power(value, self.script())
        return value

    def script(self) -> Value:
        """An exponent: braces, a sign and a token, or one token."""
        if self.peek()[1] == "{":
            return self.bracketed()
        if self.peek()[1] == "-":
            self.take()
            return _multiply(_constant(Fraction(-1)), self.script())
        return self.atom()

    def postfix(self) -> Value:
        value = self.atom()
        while self.peek() in (("m", "!"), ("m", "\\%"), ("m", "%")):
            value = _factorial(value) if self.take() == "!" else _divide(value, _constant(Fraction(100)))
        return value

    def bracketed(self) -> Value:
        close = _CLOSING.get(self.take())
        if close is None:
            raise UnreadableError("bracket expected")
        value = self.sum()
        self.take(close)
        return value

    def atom(self) -> Value:
        kind, text = self.peek()
        if kind == "n":
            return _constant(Fraction(self.take().replace(",", "").rstrip(".") or "0"))
        if kind == "l":
            return self.name(self.take())
        if text == "|":
            self.take()
            value = self.sum()
            self.take("|")
            return _apply(abs, value)
        if kind == "c":
            return self.command(self.take())
        return self.bracketed()

    def name(self, text: str) -> Value:
        if self.peek() == ("m", "_"):
            self.take()
            text += "_" + self._subscript()
        if self.peek() == ("m", "'"):
            text += self.take()
        if text == "e":
            return _constant(complex(math.e))
        if text == "i":
            return _constant(1j)
        self.names.add(text)
        return lambda names: names[text]

    def _subscript(self) -> str:
        if self.peek()[1] != "{":
            return self.take()
        self.take()
        found = ""
        while (part := self.take()) != "}":
            found += part
        return found

    def command(self, name: str) -> Value:
        if name == "pi":
            return _constant(complex(math.pi))
        if name in ("frac", "binom"):
            top, bottom = self.bracketed(), self.bracketed()
            return _divide(top, bottom) if name == "frac" else _binomial(top, bottom)
        if name == "sqrt":
            degree = self.bracketed() if self.peek()[1] == "[" else _constant(Fraction(2))
            return _root(self.bracketed(), degree)
        if name in _ONE or name == "log":
            return self.function(name)
        if name in ("lfloor", "lceil"):
            value = self.sum()
            self.take("r" + name[1:])
            return _apply(math.floor if name == "lfloor" else math.ceil, value, real=True)
        if _GREEK.fullmatch(name):
            return self.name("\\" + name)
        raise UnreadableError(name)

    def function(self, name: str) -> Value:
        base = exponent = None
        if name == "log":
            base = _constant(complex(math.e))
            if self.peek() == ("m", "_"):
                self.take()
                base = self.script()
        if self.peek() == ("m", "^"):
            self.take()
            exponent = self.script()
        argument = self.bracketed() if self.peek()[1] in _CLOSING else self.power_chain()
        value = _logarithm(argument, base) if base is not None else _apply(_ONE[name], argument)
        return _power(value, exponent) if exponent is not None else value

    def power_chain(self) -> Value:
        """The argument of `\\sin 2x`: factors side by side."""
        value = self.signed()
        while self.peek()[0] in ("n", "l") or self.peek() == ("c", "pi"):
            value = _multiply(value, self.power())
        return value


# --- arithmetic: exact while both sides are, doubles else


def _constant(number: Number) -> Value:
    return lambda _: number


def _shrink(number: Number) -> Number:
    if isinstance(number, Fraction) and number.numerator.bit_length() + number.denominator.bit_length() > MAX_BITS:
        return complex(float(number))
    return number


def _pair(left: Number, right: Number) -> tuple[Number, Number]:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left, right
    return complex(left), complex(right)


def _add(left: Value, right: Value, sign: int) -> Value:
    def value(names: Mapping[str, Number]) -> Number:
        a, b = _pair(left(names), right(names))
        return _shrink(a + sign * b)  # type: ignore[operator]

    return value


def _multiply(left: Value, right: Value) -> Value:
    def value(names: Mapping[str, Number]) -> Number:
        a, b = _pair(left(names), right(names))
        return _shrink(a * b)  # type: ignore[operator]

    return value


def _divide(left: Value, right: Value) -> Value:
    def value(names: Mapping[str, Number]) -> Number:
        a, b = _pair(left(names), right(names))
        return _shrink(a / b)  # type: ignore[operator]

    return value


def _power(base: Value, exponent: Value) -> Value:
    def value(names: Mapping[str, Number]) -> Number:
        a, b = base(names), exponent(names)
        if isinstance(a, Fraction) and isinstance(b, Fraction) and b.denominator == 1:
            size = (a.numerator.bit_length() + a.denominator.bit_length()) * abs(b)
            if size <= MAX_BITS:
                return a ** int(b)
        return complex(a) ** complex(b)

    return value


def _root(inside: Value, degree: Value) -> Value:
    def value(names: Mapping[str, Number]) -> Number:
        x, n = complex(inside(names)), degree(names)
        if x.imag == 0 and x.real < 0 and isinstance(n, Fraction) and n.denominator == 1 and n % 2:
            return complex(-((-x.real) ** (1 / float(n))))
        return x ** (1 / complex(n))

    return value


def _apply(function: Callable[..., complex], argument: Value, real: bool = False) -> Value:
    def value(names: Mapping[str, Number]) -> Number:
        x = argument(names)
        if real:
            if isinstance(x, complex) and x.imag:
                raise UnreadableError("not real")
            return Fraction(str(function(x.real if isinstance(x, complex) else x)))  # type: ignore[arg-type]
        return complex(function(complex(x)))

    return value


def _logarithm(argument: Value, base: Value) -> Value:
    return lambda names: cmath.log(complex(argument(names)), complex(base(names)))


def _whole(number: Number, most: int) -> int:
    if not isinstance(number, Fraction) or number.denominator != 1 or not 0 <= number <= most:
        raise UnreadableError("no small whole number")
    return int(number)


def _factorial(argument: Value) -> Value:
    return lambda names: _shrink(Fraction(math.factorial(_whole(argument(names), 170))))


def _binomial(top: Value, bottom: Value) -> Value:
    return lambda names: _shrink(Fraction(math.comb(_whole(top(names), 500), _whole(bottom(names), 500))))
