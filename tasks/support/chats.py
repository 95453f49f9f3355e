"""Rows of training sets that hold chats: LLaMA-Factory's two layouts and chats as JSON strings in, question and reply out.

Layouts: `messages` or `conversations` (lists of turns with role/content or from/value; content may be a list of parts), and
`instruction`, `input`, `output`. Picture placeholders such as `<image>` are removed; pictures come from the row's own column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from harness.core.errors import attempt
from harness.core.records import Answer
from tasks.support.golds import choice, typed

_PLACEHOLDER = re.compile(r"<image(?:\s*\d+|_\d+|_pad\|)?>|<\|vision_start\|>|<\|image_pad\|>|<\|vision_end\|>")
_USERS = ("user", "human")
_REPLIES = ("assistant", "gpt")


def question_and_reply(row: Mapping[str, Any], column: str = "") -> tuple[str, str | None]:
    """(last user text, the reply after it or None) of a row, from `column` where it holds a chat or a text."""
    value = row.get(column) if column else None
    if value is None:
        value = next((row[c] for c in ("messages", "conversations", "message") if row.get(c)), None)
    if isinstance(value, str):
        chat, _ = attempt(json.loads, value) if value.lstrip().startswith(("[", "{")) else (None, None)
        value = chat if isinstance(chat, list | dict) else value
    if isinstance(value, str):
        return plain(value), None
    if value is None:
        parts = [str(row[c]) for c in ("instruction", "input") if row.get(c)]
        return plain("\n".join(parts)), row.get("output")
    turns = [value] if isinstance(value, Mapping) else list(value)
    said = [(str(t.get("role", t.get("from"))), _content(t.get("content", t.get("value")))) for t in turns]
    question = next((text for role, text in reversed(said) if role in _USERS), "")
    reply = next((text for role, text in reversed(said) if role in _REPLIES), None)
    return plain(question), reply


def plain(text: str) -> str:
    """A question without placeholders of its pictures."""
    return re.sub(r"[ \t]*\n[ \t]*\n\s*", "\n\n", _PLACEHOLDER.sub("", text)).strip()


def _content(content: Any) -> str:
    if isinstance(content, list | tuple):
        return "\n".join(str(p.get("text", "")) for p in content if isinstance(p, Mapping) and p.get("text"))
    return str(content or "")


def lettered_or_typed(gold: Any, question: str) -> Answer:
    """A gold of a set that mixes letters and values: one letter is a choice where the question lists options."""
    text = re.sub(r"\$|^\s*\\\(|\\\)\s*$", "", str(gold)).strip().rstrip("。.").strip()
    letter = re.fullmatch(r"\(?([A-H])\)?", text)
    if letter and re.search(r"(?:^|[\s(])A\s*[.):．、:]", question):
        return choice(letter[1])
    return typed(re.sub(r"(?<=\d)\s*°$", r"^\\circ", text))
