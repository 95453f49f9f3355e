"""Every registered method has a page, and the defaults in it are the class's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rewards.method import Method, method

PAGES = Path(__file__).resolve().parents[2] / "docs" / "methods"
ROW = re.compile(r"^\| `(\w+)` \| `([^`]+)` \|", re.MULTILINE)


@pytest.mark.parametrize("key", sorted(method._builtin()))
def test_page_states_the_defaults(key: str) -> None:
    text = (PAGES / f"{key}.md").read_text("utf-8")
    assert text.startswith(f"# {key}\n")
    for part in ("Formula", "Needs", "Provenance", "Cost"):
        assert part in text, f"the page says nothing of '{part}'"
    actual, base = method.get(key)().settings(), Method.__new__(Method).settings()
    stated = dict(ROW.findall(text))
    own = {n for n, v in actual.items() if n not in base or base[n] != v}
    assert own <= set(stated), f"not on the page: {sorted(own - set(stated))}"
    assert {n: repr(actual[n]) for n in stated} == stated
