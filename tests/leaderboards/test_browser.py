"""The page in a real Chromium, from disk and from `view`: what a reader does with it, and what must never happen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leaderboards import board
from leaderboards.page import view
from leaderboards.page.site import Site
from tests.leaderboards import browser as tools


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with tools.browser() as found:
        yield found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    tools.folder(out)
    return out


@pytest.fixture(scope="module")
def address(runs: Path) -> str:
    (file,) = board.main(runs, ("html",))
    return file.resolve().as_uri()


def texts(page: Any, selector: str) -> list[str]:
    return [t.strip() for t in page.locator(selector).all_inner_texts()]


def place(page: Any, name: str, task: str, seed: int) -> int:
    """The number of an evaluation on the page."""
    query = f"RE.store.board.evaluations.find(e => e.name === '{name}' && e.task === '{task}' && e.seed === {seed}).i"
    return int(page.evaluate(query))


def test_the_overview_shows_every_method_on_every_task(running: Any, address: str) -> None:
    with tools.opened(running, address) as (page, seen):
        assert page.locator("section table").first.locator("tbody tr").count() == 3
        assert {"toy-a", "toy-b"} <= set(texts(page, "section thead th"))
        assert page.locator("td.heat").count() == 6 and page.locator("svg.bar").count() >= 3
        page.wait_for_selector("canvas")
        tools.until(page, "window.Chart && Chart.getChart(document.querySelector('canvas'))")
        assert seen.errors == []


def test_a_table_sorts_by_mouse_and_by_key_and_filters(running: Any, address: str) -> None:
    with tools.opened(running, f"{address}#/task/toy-a") as (page, seen):
        names = "section tbody tr:not([hidden]) th"
        first = texts(page, names)
        assert first[-1] == "base" and len(first) == 3
        page.get_by_role("button", name="accuracy").click()
        assert page.locator("th[aria-sort=descending]").count() == 1
        page.get_by_role("button", name="accuracy").focus()
        page.keyboard.press("Enter")
        assert page.locator("th[aria-sort=ascending]").count() == 1
        assert texts(page, names)[0] == "base"
        page.keyboard.press("/")
        page.keyboard.type("RLFR")
        assert texts(page, names) == ["rlfr"]
        assert seen.errors == []


def test_samples_filter_open_and_step_by_key(running: Any, address: str) -> None:
    with tools.opened(running, address) as (page, seen):
        number = place(page, "rlfr", "toy-a", 0)
        page.goto(f"{address}#/samples/{number}")
        page.wait_for_selector("tbody tr")
        assert texts(page, ".count")[0].startswith("120 of 120")
        page.get_by_label("show").select_option("wrong")
        tools.settle(page)
        assert set(texts(page, "tbody td.verdict")) == {"incorrect"}
        page.locator("tbody th a").first.click()
        page.wait_for_selector(".sample .response")
        before = page.url
        page.keyboard.press("j")
        tools.until(page, f"location.href !== {before!r}")
        tools.settle(page)
        assert texts(page, ".sample .verdict")[0] == "incorrect"
        page.keyboard.press("ArrowLeft")
        tools.until(page, f"location.href === {before!r}")
        tools.settle(page)
        page.locator("summary", has_text="Manifest").click()
        assert '"task": "toy-a"' in page.locator("pre.manifest").inner_text()
        assert seen.errors == []


def test_categories_and_reasons_choose(running: Any, address: str) -> None:
    with tools.opened(running, address) as (page, seen):
        number = place(page, "base", "toy-b", 0)
        page.goto(f"{address}#/samples/{number}")
        page.get_by_label("category").select_option(label="subject: subject 1")
        tools.until(page, "document.querySelector('.count')?.textContent.startsWith('40 of 120')")
        page.get_by_label("reason").select_option("mismatch")
        tools.settle(page)
        assert set(texts(page, "tbody td.verdict")) == {"incorrect"}
        page.get_by_label("show").select_option("cut")
        tools.settle(page)
        assert page.locator("tbody td", has_text="truncated").count() == page.locator("tbody tr").count()
        assert seen.errors == []


def test_two_methods_side_by_side_by_a_deep_link(running: Any, address: str) -> None:
    """The link alone leads to a flipped sample beside the other method's, in a fresh browser."""
    with tools.opened(running, address) as (page, _):
        a, b = place(page, "rlfr", "toy-a", 0), place(page, "base", "toy-a", 0)
    with tools.opened(running, f"{address}#/samples/{a}?with={b}&f=flip") as (page, seen):
        page.wait_for_selector("tbody tr")
        count = int(texts(page, ".count")[0].split()[0])
        said = texts(page, ".count")[0]
        assert 0 < count < 120 and "right only in rlfr" in said
        page.locator("tbody th a").first.click()
        page.wait_for_selector(".two .response")
        link = page.url
        assert seen.errors == []
    with tools.opened(running, link) as (page, seen):
        page.wait_for_selector(".two .response")
        assert page.locator(".response").count() == 2
        assert len({texts(page, ".response .verdict")[0], texts(page, ".response .verdict")[2]}) == 2
        assert seen.errors == []


def test_what_a_model_wrote_is_text(running: Any, address: str) -> None:
    with tools.opened(running, address) as (page, seen):
        number = place(page, "rlfr", "toy-a", 0)
        page.goto(f"{address}#/samples/{number}?s=3")
        page.wait_for_selector(".response .formula .katex")
        box = page.locator(".response .prose-text").last
        assert "<script>window.hacked = 1</script>" in box.inner_text() and "THE END" in box.inner_text()
        assert page.locator(".response script, .response .prose-text img, .response a").count() == 0
        assert box.evaluate("e => e.textContent.length") < 20_000, "a long response shows its ends"
        page.get_by_role("button", name="more characters").click()
        assert box.evaluate("e => e.textContent.length") > 100_000
        page.get_by_label("source text").click()  # the page is drawn anew: there is nothing left to check
        tools.until(page, "location.hash.includes('raw=1')")
        tools.settle(page)
        assert "\\boxed{\\frac{1}{2}}" in page.locator(".response .prose-text").last.inner_text()
        assert page.evaluate("window.hacked") is None
        assert seen.errors == []


def test_curves_and_token_signals(running: Any, address: str) -> None:
    with tools.opened(running, f"{address}#/curves?m=reward") as (page, seen):
        tools.until(page, "window.Chart && Chart.getChart(document.querySelector('canvas'))")
        labels = page.evaluate("Chart.getChart(document.querySelector('canvas')).data.datasets.map(d => d.label)")
        assert "grpo (2 seeds)" in labels and "~rlfr high" in labels, "a line per method, a band for its seeds"
        page.locator("summary", has_text="As a table").click()
        page.wait_for_selector("details tbody th")
        assert "grpo" in texts(page, "details tbody th")
        page.goto(f"{address}#/tokens/0")
        tools.until(page, "location.hash === '#/tokens/0'")
        tools.settle(page)
        assert "tokenizer cannot be read" in page.locator("main").inner_text(), "there is no policy folder in this test"
        assert seen.errors == []


def test_token_signals_are_a_heat_map(running: Any, address: str) -> None:
    with tools.opened(running, f"{address}#/curves") as (page, seen):
        page.evaluate(
            """RE.put("tokens-0", {why: "", steps: [{step: 20, of: 1, rollouts: [{id: "7#0", outcome: 1,
            tokens: ["<b>", "x", "\\n"], signals: {"old.score": [0, -2, 1], advantage: [0, 0, 0]}}]}]});
            location.hash = "#/tokens/0" """
        )
        page.wait_for_selector(".token")
        assert texts(page, ".token")[:2] == ["<b>", "x"]
        shares = page.evaluate("[...document.querySelectorAll('.token')].map(t => t.style.getPropertyValue('--share'))")
        assert shares[0] == "0%" and int(shares[1][:-1]) > int(shares[2][:-1]) > 0
        assert seen.errors == []


@pytest.mark.parametrize("route", ["", "#/task/toy-a", "#/samples/0", "#/samples/0?s=1", "#/curves"])
def test_a_phone_never_scrolls_the_page_sideways(running: Any, address: str, route: str) -> None:
    with tools.opened(running, address + route, viewport={"width": 360, "height": 740}) as (page, seen):
        tools.settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert seen.errors == []


def test_light_and_dark(running: Any, address: str) -> None:
    with tools.opened(running, address, color_scheme="dark") as (page, seen):
        paint = "getComputedStyle(document.body).backgroundColor"
        dark = page.evaluate(paint)
        page.locator("#theme").click()
        light = page.evaluate(paint)
        assert dark != light and light == "rgb(255, 255, 255)"
        tools.until(page, "window.Chart && Chart.getChart(document.querySelector('canvas'))")
        assert page.evaluate("Chart.getChart(document.querySelector('canvas')).options.scales.x.grid.color").startswith(
            "rgb"
        )
        assert seen.errors == []


def test_view_serves_the_same_page(running: Any, runs: Path) -> None:
    server = view.serve(Site(board.collect(runs, board.Choice())))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with tools.opened(running, view.address(server)) as (page, seen):
            assert page.locator("section table").first.locator("tbody tr").count() == 3
            page.goto(f"{view.address(server)}#/samples/1?s=2")
            page.wait_for_selector(".sample .response")
            page.goto(f"{view.address(server)}methods/rlfr.html")
            assert "rlfr" in page.locator("h1").first.inner_text()
            assert seen.errors == []
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
