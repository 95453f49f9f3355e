"""The error boundaries, each with its remedy, and the only place that may catch broadly.

Every error a user can cause is an `RlfrEvalError`: one line that says what is wrong and where, and what to do. The
command line prints that line and exits with 2. Anything else is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any


class RlfrEvalError(Exception):
    """What is wrong (and where) and its remedy; `str()` is one line."""

    exit_code = 2

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what, self.remedy = what, remedy
        super().__init__(" ".join(f"{what}{': ' + remedy if remedy else ''}".split()))


class UnknownNameError(RlfrEvalError):
    """A task, method, engine, recipe, option or key that does not exist."""


class ConfigError(RlfrEvalError):
    """A setting that cannot be read, is unknown, or contradicts another."""


class DataError(RlfrEvalError):
    """Data that is missing or malformed: a file, a column, a row, a response line."""


class ImageError(DataError):
    """An image that is missing or broken, found when it is needed."""


class ModelError(RlfrEvalError):
    """A policy that cannot be loaded: no such folder, weights that do not match its configuration."""


class ResourceError(RlfrEvalError):
    """Memory, disk or hardware that the work needs and the machine lacks."""


class EngineError(RlfrEvalError):
    """The engine failed, or disagrees with the trainer."""


class VerifierError(RlfrEvalError):
    """The verifier itself cannot work (its workers do not start)."""


class RunError(RlfrEvalError):
    """A run folder that is locked, incomplete or belongs to another configuration."""


class TrainingError(RlfrEvalError):
    """Training cannot go on: a non-finite loss, a method that breaks its contract."""


def near(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` for a misspelt name, else the known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(f"'{c}'" for c in close) + "?"
    return "known: " + (", ".join(names) if names else "none")


def attempt(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, Exception | None]:
    """Run code that is not ours to trust (an answer rule, a plug-in) and return `(result, error)`.

    The only broad `except` of the project. Callers must turn the error into a state of its own (UNGRADED, a failed
    property), never into a score.
    """
    try:
        return function(*args, **kwargs), None
    except Exception as error:
        return None, error
