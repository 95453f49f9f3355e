"""The page: one file without outside resources, every row and number in it, intervals drawn where they are."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.core.runs import evaluations
from leaderboards import html, text
from leaderboards.table import Table, build
from tests.leaderboards.synthetic import draw, evaluation, facts, runs

VOID = {"meta", "circle", "line", "br"}


class Checker(HTMLParser):
    """Every element is closed in order; collects the cells' text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[Table]:
    out = tmp_path_factory.mktemp("runs")
    runs(out, n=120)
    return build(evaluations(out))[0]


def test_the_page_is_whole_and_needs_nothing_else(tables: list[Table]) -> None:
    made = html.page(tables)
    checker = Checker()
    checker.feed(made)
    assert checker.open == []
    assert not re.search(r"(src|href)=\"(?!#)|@import|url\(|<script", made)
    for table in tables:
        for row in table.rows:
            for shown in (text.accuracy(row), text.difference(row), text.name(row)):
                assert shown in checker.words
            assert all(f"{100 * v:.1f}" in checker.words for v, _ in row.categories["subject"].values())


def test_names_from_outside_are_escaped(tmp_path: Path) -> None:
    evaluation(tmp_path, facts("policy", label="<script>alert(1)</script>"), draw(20, 0.5, 0))
    made = html.page(build(evaluations(tmp_path))[0])
    assert "<script>" not in made and "&lt;script&gt;" in made


def test_the_axis_holds_every_interval(tables: list[Table]) -> None:
    for table in tables:
        drawn = html.axis(table.rows)
        assert drawn.low <= min(r.low for r in table.rows) and max(r.high for r in table.rows) <= drawn.high
        assert all(0 < drawn.x(v) < html.WIDTH for r in table.rows for v in (r.low, r.accuracy, r.high))
        assert 2 <= len(drawn.ticks) <= 6
        for x, label in drawn.ticks:
            assert drawn.x(float(label) / 100) == x


@pytest.mark.parametrize("right", [[[True]] * 30, [[False]] * 30])
def test_the_ends_of_the_scale_can_be_drawn(tmp_path: Path, right: list[list[bool]]) -> None:
    evaluation(tmp_path, facts("base"), right)
    assert "NaN" not in html.page(build(evaluations(tmp_path))[0])


def test_levels_are_sorted_as_numbers(tables: list[Table]) -> None:
    assert sorted(["10", "2", "easy", "1.5"], key=html._natural) == ["1.5", "2", "10", "easy"]
