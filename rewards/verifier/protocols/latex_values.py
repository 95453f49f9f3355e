"""Two LaTeX texts in, whether sympy finds them equal out: the symbolic step of graders of other suites.

Those graders hand a cleaned answer to a LaTeX parser and sympy. The parser here is latex2sympy2_extended, the maintained line
of the one that they use; what it cannot read is not equal. Runs in a worker, whose deadline ends what does not end.
"""

from __future__ import annotations

from typing import Any

from harness.core.errors import attempt

MAX_LENGTH = 600
"""Characters that the parser gets; it is slow in them."""


def parsed(text: str) -> Any:
    """The text as a sympy object, None where it cannot be read."""
    from latex2sympy2_extended import latex2sympy

    if not text.strip() or len(text) > MAX_LENGTH:
        return None
    return attempt(latex2sympy, text)[0]


def equal(left: str, right: str, relative: float | None = None) -> bool:
    """Equal as sympy objects, by a difference that simplifies to zero, or, with `relative`, as numbers that close."""
    import sympy

    one, two = parsed(left), parsed(right)
    if one is None or two is None:
        return False
    if attempt(lambda: bool(one == two))[0]:
        return True
    if attempt(lambda: bool(one.equals(two)))[0] or attempt(lambda: bool(sympy.simplify(one - two) == 0))[0]:
        return True
    return relative is not None and bool(attempt(_close, one, two, relative)[0])


def _close(left: Any, right: Any, relative: float) -> bool:
    import math

    import sympy

    return math.isclose(float(sympy.N(left)), float(sympy.N(right)), rel_tol=relative)
