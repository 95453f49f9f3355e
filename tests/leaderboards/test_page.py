"""The page's files: each is there once, data are scripts that cannot break out, the server answers this machine only."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.errors import RunError
from leaderboards import board
from leaderboards.page import tokens, view
from leaderboards.page.samples import BLOCK, read_log
from leaderboards.page.site import ASSETS, Site
from tests.leaderboards import browser as tools
from tests.leaderboards.synthetic import draw, evaluation, facts


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    out = tmp_path_factory.mktemp("runs")
    tools.folder(out)
    return Site(board.collect(out, board.Choice()))


def test_every_path_has_content_and_nothing_else_does(site: Site) -> None:
    paths = list(site.paths())
    assert len(paths) == len(set(paths)) and "index.html" in paths and "data/board.js" in paths
    for path in paths:
        assert site.content(path), path
    for path in (
        "data/e99/index.js",
        "data/e0/99.js",
        "data/../board.js",
        "assets/../page.html",
        "assets/../../stats",
        "x",
    ):
        with pytest.raises(RunError):
            site.content(path)


def test_the_page_asks_for_what_is_there(site: Site) -> None:
    """Every file that index.html and the scripts name exists, and none is on another machine."""
    html = (ASSETS / "index.html").read_text()
    named = re.findall(r'(?:src|href)="(assets/[^"]+)"', html)
    scripts = [p.read_text() for p in ASSETS.glob("*.js")]
    named += [n for text in scripts for n in re.findall(r'src: "(assets/[^"]+)"', text)]
    assert len(named) > 10
    for name in named:
        assert site.content(name)
    for text in [html, *scripts]:
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
        assert "innerHTML" not in text and "insertAdjacentHTML" not in text and "eval(" not in text


def test_data_files_are_ascii_scripts_of_one_call(site: Site) -> None:
    number = next(
        k for k, e in enumerate(site.board.evaluations) if "rlfr" in str(e.folder) and "toy-a" in str(e.folder)
    )
    text = site.content(f"data/e{number}/0.js").decode("ascii")
    found = re.fullmatch(r'RE\.put\("e\d+/0",(.*)\);\n', text, re.S)
    assert found is not None and "\u2028" not in text
    rows = json.loads(found.group(1))
    assert len(rows) == BLOCK and any(r["response"] == tools.LONG for r in rows)


def test_the_index_says_what_each_sample_is(tmp_path: Path) -> None:
    made = evaluation(tmp_path, facts("grpo"), [[True, None], [False, True]], note=(1,))
    log = read_log(made)
    names = log.index["verdicts"]
    assert [names[v] for v in log.index["v"]] == ["correct", "ungraded", "incorrect", "correct"]
    assert log.index["k"] == [0, 1, 0, 1] and log.index["id"] == ["0", "0", "1", "1"]
    assert [f & 4 for f in log.index["flags"]] == [0, 0, 4, 4] and log.index["flags"][1] & 2
    codes = log.index["categories"]["subject"]
    assert [codes["texts"][c] for c in codes["codes"]] == ["subject 0", "subject 0", "subject 1", "subject 1"]
    assert set(log.index["others"]) == {"strict"}
    assert [r["id"] for r in log.block(0)] == ["0", "0", "1", "1"]


def test_a_page_with_fewer_samples_says_so(tmp_path: Path) -> None:
    evaluation(tmp_path, facts("grpo"), draw(30, 0.5, 0))
    site = Site(board.collect(tmp_path, board.Choice()), samples=10)
    text = site.content("data/e0/index.js").decode()
    index = json.loads(text[text.index(",") + 1 : text.rindex(")")])
    assert (index["n"], index["total"]) == (10, 30)


@pytest.fixture
def port(site: Site) -> Iterator[int]:
    server = view.serve(site)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def test_view_answers_this_machine_by_its_name_only(port: int) -> None:
    def ask(path: str, host: str, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path, headers={"Host": host, **headers})
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, gzip.decompress(body) if answer.headers.get("Content-Encoding") else body

    assert ask("/", f"127.0.0.1:{port}")[1].startswith(b"<!doctype html>")
    assert ask("/data/board.js", f"localhost:{port}", **{"Accept-Encoding": "gzip"})[1].startswith(b"RE.put(")
    assert ask("/data/board.js", "evil.example")[0] == 403
    assert ask("/%2e%2e/%2e%2e/etc/passwd", f"127.0.0.1:{port}")[0] == 404
    assert ask("/assets/..%2f..%2fstats.py", f"127.0.0.1:{port}")[0] == 404


def test_token_signals_hold_the_flow_score_raw_and_filtered(tmp_path: Path) -> None:
    """A policy's tokenizer, two logged rollouts of rlfr: the filter keeps at most top_k tokens of each."""
    from harness.models import tiny

    tiny.build("tiny-lm", tmp_path / "policy")
    tools.train(tmp_path, 0, 0)
    (tmp_path / "config.yaml").write_text("method: rlfr\nmethod_options: {top_k: 2, eta: 0.3}\n")
    found = tokens.tokens(tmp_path)
    assert found["why"] == "" and [s["step"] for s in found["steps"]] == [20]
    rollout = found["steps"][0]["rollouts"][0]
    raw, kept = rollout["signals"]["old.score"], rollout["signals"]["old.score, filtered"]
    assert len(raw) == len(kept) == len(rollout["tokens"]) == 6 and len(set(raw)) == 6
    assert sum(v != 0 for v in kept) == 2 and {"advantage"} <= set(rollout["signals"])
    (tmp_path / "config.yaml").write_text("method: of-a-plug-in\n")
    assert "old.score, filtered" not in tokens.tokens(tmp_path)["steps"][0]["rollouts"][0]["signals"]


def test_pictures_come_from_the_task_where_its_data_are_at_hand(tmp_path: Path) -> None:
    evaluation(tmp_path, facts("grpo", model="tiny-vl"), draw(4, 0.5, 0), task="charts-test")
    evaluation(tmp_path, facts("grpo", model="tiny-vl"), draw(4, 0.5, 0), task="mathvista-testmini")
    evaluation(tmp_path, facts("grpo", model="tiny-vl"), draw(4, 0.5, 0), task="nobody-knows")
    site = Site(board.collect(tmp_path, board.Choice()))
    shown = [path for path in site.paths() if path.startswith("images/")]
    assert len(shown) == 4 and len({site.content(path) for path in shown}) == 4
    assert all(site.content(path).startswith(b"\x89PNG") for path in shown)
    by_task = {}
    for number, member in enumerate(site.board.evaluations):
        text = site.content(f"data/e{number}/index.js").decode()
        by_task[member.results["task"]] = json.loads(text[text.index(",") + 1 : text.rindex(")")])
    assert [
        f"{by_task['charts-test']['folder']}/{place}-0.png" for place, _ in by_task["charts-test"]["pictures"]
    ] == shown
    assert by_task["mathvista-testmini"]["pictures"] is None
    assert "--data-dir" in by_task["mathvista-testmini"]["no_pictures"]
    assert "not at hand" in by_task["nobody-knows"]["no_pictures"]
    for path in ("images/t9/0-0.png", "images/t0/9999-0.png", "images/t0/0-7.png", "images/../x"):
        with pytest.raises(RunError):
            site.content(path)
