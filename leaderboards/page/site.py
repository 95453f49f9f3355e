"""Every file of the page by its path: what `build` writes and what `view` answers are the same bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.core.errors import RunError
from leaderboards.page.curves import curves
from leaderboards.page.data import board_data, token_runs
from leaderboards.page.methods import method_page
from leaderboards.page.pictures import Pictures
from leaderboards.page.samples import BLOCK, Log, read_log
from leaderboards.page.tokens import tokens
from leaderboards.table import Board

ASSETS = Path(__file__).parents[1] / "site"
_ROOT = ("index.html",)


def script(key: str, value: Any) -> bytes:
    """A script that hands a value to the page. ASCII only: what a model wrote cannot end a line or a string of it."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return f"RE.put({json.dumps(key)},{text});\n".encode("ascii")


class Site:
    """The page of a board. `samples`: the most samples of one evaluation (None: all)."""

    def __init__(self, board: Board, samples: int | None = None, data_dirs: Mapping[str, Path] | None = None) -> None:
        self.board, self.samples = board, samples
        self.pictures = Pictures(data_dirs)
        self._logs: dict[int, Log] = {}

    @cached_property
    def methods(self) -> dict[str, bytes]:
        """Pages of the methods that have rows."""
        names = sorted({r.name for t in self.board.tables for r in t.rows})
        found = {name: method_page(name) for name in names}
        return {name: text.encode() for name, text in found.items() if text is not None}

    def paths(self) -> Iterator[str]:
        """Every path of the page, pictures last."""
        yield from _ROOT
        yield from (
            f"assets/{f.relative_to(ASSETS)}" for f in sorted(ASSETS.rglob("*")) if f.is_file() and f.name not in _ROOT
        )
        yield "data/board.js"
        if self.board.evaluations:
            yield "data/curves.js"
        yield from (f"data/tokens-{k}.js" for k in range(len(token_runs(self.board.evaluations))))
        yield from (f"methods/{name}.html" for name in self.methods)
        for number in range(len(self.board.evaluations)):
            log = self.log(number)
            yield f"data/e{number}/index.js"
            yield from (f"data/e{number}/{k}.js" for k in range(-(-len(log.index["v"]) // BLOCK)))
        yield from self._picture_paths()

    @cached_property
    def tasks(self) -> list[str]:
        """Tasks that were evaluated, by the number in the path of their pictures."""
        return sorted({str(e.results["task"]) for e in self.board.evaluations})

    def _picture_paths(self) -> Iterator[str]:
        for number, task in enumerate(self.tasks):
            asked = {
                i
                for k, e in enumerate(self.board.evaluations)
                if e.results["task"] == task
                for i in self.log(k).index["id"]
            }
            for place, item in enumerate(self.pictures.items(task)):
                if item in asked:
                    yield from (f"images/t{number}/{place}-{k}.png" for k in range(self.pictures.count(task, item)))

    def content(self, path: str) -> bytes:
        """What is at a path. Raises RunError where nothing is."""
        head, _, rest = path.partition("/")
        if path in _ROOT:
            return (ASSETS / path).read_bytes()
        if head == "assets":
            return self._asset(rest)
        if head == "methods" and rest.removesuffix(".html") in self.methods:
            return self.methods[rest.removesuffix(".html")]
        if head == "data":
            return self._data(rest)
        if head == "images":
            return self._image(rest)
        raise RunError(f"the page has no {path}", "check the address")

    def _asset(self, name: str) -> bytes:
        file = (ASSETS / name).resolve()
        if not file.is_relative_to(ASSETS.resolve()) or not file.is_file():
            raise RunError(f"the page has no assets/{name}", "check the address")
        return file.read_bytes()

    def _data(self, name: str) -> bytes:
        key = name.removesuffix(".js")
        head, _, rest = key.partition("/")
        if key == "board":
            return script(key, board_data(self.board, list(self.methods)))
        if key == "curves":
            return script(key, curves(self.board.evaluations))
        if key.startswith("tokens-") and key[7:].isdecimal():
            runs = token_runs(self.board.evaluations)
            if int(key[7:]) < len(runs):
                return script(key, tokens(runs[int(key[7:])]))
        if head.startswith("e") and head[1:].isdecimal() and int(head[1:]) < len(self.board.evaluations):
            number = int(head[1:])
            if rest == "index":
                return script(key, self._index(number))
            if rest.isdecimal():
                return script(key, self.log(number).block(int(rest)))
        raise RunError(f"the page has no data/{name}", "check the address")

    def _index(self, number: int) -> dict[str, Any]:
        member, log = self.board.evaluations[number], self.log(number)
        task = str(member.results["task"])
        places = {item: k for k, item in enumerate(self.pictures.items(task))}
        shown = [[places.get(i, -1), self.pictures.count(task, i)] for i in log.index["id"]] if places else None
        manifest = {"results": {k: v for k, v in member.results.items() if k not in ("metrics", "by_category")}}
        return {
            **log.index,
            "total": member.results["samples"],
            "pictures": shown,
            "folder": f"images/t{self.tasks.index(task)}",
            "no_pictures": self.pictures.why.get(task, ""),
            "manifest": manifest,
        }

    def _image(self, name: str) -> bytes:
        found = re.fullmatch(r"t(\d+)/(\d+)-(\d+)\.png", name)
        try:
            if found is not None:
                task, place, number = map(int, found.groups())
                return self.pictures.png(self.tasks[task], place, number)
        except IndexError:
            pass
        raise RunError(f"the page has no images/{name}", "check the address")

    def log(self, number: int) -> Log:
        """The samples of an evaluation, indexed once."""
        if number not in self._logs:
            self._logs[number] = read_log(self.board.evaluations[number].folder, self.samples)
        return self._logs[number]
