"""Ctrl-C and SIGTERM during training: at once where nothing is half done, else at the end of the step, state saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While open, the first signal is noted (`asked`), or raises KeyboardInterrupt inside `free`; the second always raises.

    Signals reach the main thread alone; opened in another one it does nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self._free = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._handle) for s in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._free or self.asked:
            raise KeyboardInterrupt
        self.asked = True

    @contextmanager
    def free(self) -> Iterator[None]:
        """Work that may end anywhere, because nothing of it is kept."""
        if self.asked:
            raise KeyboardInterrupt
        self._free = True
        try:
            yield
        finally:
            self._free = False
