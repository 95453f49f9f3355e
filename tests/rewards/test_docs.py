"""Every registered method has a page, and the defaults in it are the class's."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from rewards.method import FAMILIES, Method, method

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


SOURCES = {
    "code": "the authors' code",
    "code-3p": "a third party's code, constants in part a reconstruction",
    "peer": "code of verl or TRL",
    "note": "summaries; no code of the authors was read",
    "abstract": "the abstract and summaries; in part a reconstruction",
    "paper": "the paper; in part a reconstruction",
    "reconstruction": "a reconstruction",
    "own": "own",
}
"""The first word of a method's `provenance`, in words."""


def source_in_words(provenance: str) -> str:
    return SOURCES[re.split(r"[ :;,]", provenance)[0]]


def test_the_index_lists_every_method_under_its_family() -> None:
    text = (PAGES / "index.md").read_text("utf-8")
    sections = dict(zip(FAMILIES, re.split(r"^## ", text, flags=re.MULTILINE)[1:], strict=True))
    listed = []
    for family, section in sections.items():
        assert section.lower().startswith(f"{family}: {FAMILIES[family]}\n")
        for key, page, what, source in re.findall(r"^\| \[(.+?)\]\((.+?)\) \| (.+) \| (.+) \|$", section, re.MULTILINE):
            cls = method.get(key)
            assert vars(cls).get("family") == family, f"{key} does not declare family = '{family}'"
            assert (PAGES / page).is_file() and page == f"{key}.md"
            assert what == (sys.modules[cls.__module__].__doc__ or "").splitlines()[0]
            assert source == source_in_words(cls.provenance)
            listed.append(key)
    assert sorted(listed) == sorted(k for k in method._builtin() if method.get(k).trains)
