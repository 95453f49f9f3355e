"""Progress of long work: bars on a terminal, one line per stage elsewhere. Writes to stderr, results go to stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any


class ProgressBars:
    """Nested bars (tqdm). Without a terminal a stage prints a line when it starts, about every minute, and when it ends."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.bar: Any = None
        self._note = ""
        self._said: set[str] = set()

    def say(self, text: str) -> None:
        """One line about what happens now."""
        if not self.quiet:
            from tqdm import tqdm

            tqdm.write(text, file=sys.stderr)

    def say_once(self, text: str) -> None:
        """The same line only the first time."""
        if text not in self._said:
            self._said.add(text)
            self.say(text)

    def note(self, text: str) -> None:
        """Short text behind the running bar, such as the latest accuracy."""
        self._note = text
        if self.bar is not None:
            self.bar.set_postfix_str(text, refresh=False)

    def console(self) -> Any:
        """A rich console on stderr for bars of other modules; None when quiet."""
        from rich.console import Console

        return None if self.quiet else Console(stderr=True)

    def track(self, items: Iterable[Any], what: str, total: int | None = None) -> Iterator[Any]:
        """Iterate with a bar. `total` is asked of the items where it is not given."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        if self.quiet:
            yield from items
        elif sys.stderr.isatty():
            yield from self._bar(items, what, total)
        else:
            yield from self._lines(items, what, total)

    def _bar(self, items: Iterable[Any], what: str, total: int | None) -> Iterator[Any]:
        from tqdm import tqdm

        outer = self.bar
        with tqdm(total=total, desc=what, leave=outer is None, dynamic_ncols=True, smoothing=0.1) as bar:
            self.bar = bar
            try:
                for item in items:
                    yield item
                    bar.update()
            finally:
                self.bar = outer

    def _lines(self, items: Iterable[Any], what: str, total: int | None) -> Iterator[Any]:
        start = shown = time.monotonic()
        count = 0
        for item in items:
            yield item
            count += 1
            if time.monotonic() - shown > 60:
                shown = time.monotonic()
                self.say(
                    f"{what}: {count}{f'/{total}' if total else ''} after {shown - start:.0f} s  {self._note}".rstrip()
                )
        self.say(f"{what}: {count} done in {time.monotonic() - start:.0f} s  {self._note}".rstrip())
        self._note = ""
