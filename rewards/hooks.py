"""Calls of a method's hooks: a fault inside one is told once, with the file and line of the method's own code."""

from __future__ import annotations

import inspect
import traceback
from typing import Any

import torch

from harness.core.errors import RlfrEvalError, TrainingError, attempt
from rewards.method import Method


def call_hook(method: Method, hook: str, *args: Any) -> Any:
    """What the hook returns. Raises TrainingError for a fault inside it; errors of the project and a lack of memory stay
    what they are."""
    value, error = attempt(getattr(method, hook), *args)
    if error is None:
        return value
    if isinstance(error, RlfrEvalError | MemoryError | torch.OutOfMemoryError):
        raise error
    said = str(error).splitlines()[0] if str(error) else "no message"
    raise TrainingError(
        f"{hook}() of method '{method.key}' raised {type(error).__name__}: {said}{_place(method, error)}",
        f"mend the method; `rlfr-eval regress {method.key}` finds the smallest case",
    ) from error


def _place(method: Method, error: Exception) -> str:
    """` (file, line n)`: the innermost line of a file that the method's classes stand in, or "" where there is none."""
    files = {inspect.getsourcefile(c) for c in type(method).__mro__ if c not in (object, Method)}
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename in files] or frames
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
