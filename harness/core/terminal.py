"""The console that results are printed on: the terminal's width, or a wide one where the output goes to a file or a pipe."""

from __future__ import annotations

import os
import sys

from rich.console import Console

WIDE = 160


def stdout() -> Console:
    """A rich console on stdout. COLUMNS, where it is set, decides the width."""
    fixed = None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE
    return Console(width=fixed)
