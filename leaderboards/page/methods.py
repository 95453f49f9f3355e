"""A page per method: its page of docs/methods where the checkout has it, else its module's docstring, as plain HTML."""

from __future__ import annotations

import html
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "methods"
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'self' file:">
<title>{title}</title><link rel="stylesheet" href="../assets/style.css"></head>
<body class="prose"><p><a href="../index.html">leaderboard</a></p>
"""


def method_page(name: str) -> str | None:
    """The whole page as HTML; None for a name that is no method."""
    text = _text(name)
    if text is None:
        return None
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return _HEAD.format(title=html.escape(name)) + body + "</body></html>\n"


def _text(name: str) -> str | None:
    file = DOCS / f"{name}.md"
    if file.parent == DOCS and file.is_file():
        return file.read_text("utf-8")
    from rewards.method import method

    if name not in set(method.keys()):
        return None
    summary = (method.get(name).__doc__ or "").strip()
    return f"# {name}\n\n{summary}\n"
