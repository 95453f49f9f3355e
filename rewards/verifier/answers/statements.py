"""A text in, the sentences that state an answer out: "the final answer is ..", "Answer: ..", `#### ..`, 答案：.., headings.

The phrases are data, a line for each language. A statement's content is the clause behind it: up to the end of the line or
the sentence, formulas kept whole. Whether that clause can be read is decided by later stages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_CLAUSE = 600
"""Characters behind a phrase that are looked at."""
LAST = 8
"""How many of the last phrases of a text are tried."""

PHRASES: tuple[tuple[str, str], ...] = (
    # the words that announce an answer, and the words or signs that must link them to it ("" for none)
    (
        r"(?:final\s+|correct\s+|best\s+|right\s+)?(?:answer|choice|option)(?:\s+(?:to|for|of|in)\s[^.:\n=$\\]{1,60}?)?",
        r"(?:is|should\s+be|would\s+be|must\s+be|will\s+be|[:=：])",
    ),
    (r"(?:最终|正确|最后)?(?:答案|选项|答)", r"(?:应该是|应为|应是|是|为|[:：=])"),
    (r"(?:故选|应选|所以选|因此选|故选择|选择|故答案|所以答案|因此答案)", r"(?:是|为|[:：])?"),
    (r"(?:la\s+)?respuesta(?:\s+(?:final|correcta))?", r"(?:es|[:=])"),
    (r"(?:la\s+)?r[ée]ponse(?:\s+(?:finale|correcte))?", r"(?:est|[:=])"),
    (r"(?:die\s+)?(?:endg[üu]ltige\s+|richtige\s+)?antwort", r"(?:ist|lautet|[:=])"),
    (r"(?:a\s+)?resposta(?:\s+(?:final|correta))?", r"(?:é|[:=])"),
    (r"(?:la\s+)?risposta(?:\s+(?:finale|corretta))?", r"(?:è|[:=])"),
    (r"(?:итоговый\s+|правильный\s+)?ответ", r"(?:[:=—-]|это)"),
    (r"(?:最終的な)?答え", r"(?:は|[:：=])"),
    (r"(?:최종\s*)?(?:정답|답)", r"(?:은|는|[:：=])"),
)
_ANCHOR = re.compile(
    r"answer|choice|option|答|选|respuesta|r[ée]ponse|antwort|resposta|risposta|ответ|정답|답", re.IGNORECASE
)
"""What every phrase holds; the search starts from these."""
_BEFORE = re.compile(
    r"(?:(?<![A-Za-z])(?:final|correct|best|right)|最终|正确|最后|最終的な|故|应|所以|因此|итоговый|правильный)\s*$",
    re.IGNORECASE,
)
_SPACED = r"[\s*_]*"
_PHRASE = re.compile(
    "|".join(rf"{words}{_SPACED}{link}(?:[\s*_]|{link})*" if link else words for words, link in PHRASES), re.IGNORECASE
)
_HASHES = re.compile(r"####[ \t]*")
_HEADING = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]*|\*\*[ \t]*)(?:the[ \t]+)?(?:final[ \t]+|correct[ \t]+)?(?:answer|答案|最终答案)"
    r"[ \t]*:?[ \t]*(?:\*\*)?[ \t]*:?[ \t]*\n\s*",
    re.IGNORECASE | re.MULTILINE,
)
_REVERSED = re.compile(
    r"(?:(?:option|choice|answer)\s+)?(?<![A-Za-z])(\(?[A-J]\)?)\*{0,2}\s+(?:is|must\s+be|should\s+be)\s+(?:therefore\s+|indeed\s+)?(?:the\s+)?"
    r"(?:correct|right|best)(?:\s+(?:answer|option|choice))?(?![A-Za-z])"
    r"(?!\s+(?:(?:answer|option|choice)\s+)?(?:only\s+)?(?:if|when|unless)\b)"
)
_FILLER = re.compile(
    r"(?:(?:therefore|thus|simply|just|indeed|then|that|i\s+think(?:\s+it\s+is|\s+it's)?|it\s+is|it's|equal\s+to|equals)[,:]?\s+)+",
    re.IGNORECASE,
)
_LINE_START = re.compile(
    r"(?:^|\n)[\s*#>_-]*(?:(?:so|thus|therefore|hence|then|finally|consequently|in\s+conclusion|and\s+so|因此|所以|故)[,，:]?\s*)?(?:the\s+|my\s+|our\s+)?"
    r"(?:final\s+|correct\s+|最终|正确)?$",
    re.IGNORECASE,
)
_SENTENCE_START = re.compile(
    r"(?:[.!?。]\**\s+(?:(?:so|thus|therefore|hence),?\s+)?|answer\**\s*:\**\s*)(?:the\s+|my\s+|our\s+)?$",
    re.IGNORECASE,
)
_FORMULA = re.compile(r"\$\$.+?\$\$|\$(?:\\\$|[^$\n])+\$|\\\((?:(?!\\\)).)+\\\)|\\\[(?:(?!\\\]).)+\\\]", re.DOTALL)
_STOP = re.compile(
    r"\n|[.!?](?=\s+[A-Z\"'*(\u4e00-\u9fff]|\s*$|\s*\n|[\u4e00-\u9fff])|\.\s|[。！？；]|</?[a-z_]{4,}>|<\|",
    re.IGNORECASE,
)

_TAKEN_BACK = re.compile(
    r"\?+|[.,;!]\s+(?:(?:or|maybe|perhaps|possibly|wait|actually|hmm|oops)\b|no(?:,|\s+wait\b)|scratch\s+that\b)[^.\n]*",
    re.IGNORECASE,
)
"""A question mark, or a next sentence that takes the clause back, belongs to the clause: it is not to be overlooked."""
_REMARK = re.compile(
    r"(?P<value>.+?)(?:,?\s+(?:because|since|given\s+that|as\s+(?:required|desired|expected|shown|claimed|stated|asked))\b.*"
    r"|,\s*(?:which|where|so|as|all\s+in\s+all|in\s+all|in\s+total|altogether|overall)\b.*"
    r"|\s*\((?:in\s+total|in\s+all|altogether|as\s+required|rounded[^()]*)\))",
    re.IGNORECASE | re.DOTALL,
)
_DOUBT = re.compile(
    r"(?<![A-Za-z])(?:or|not|no|maybe|perhaps|possibly|probably|unless|instead|but|rather|actually|wait|wrong|unsure|might|either)"
    r"(?![A-Za-z])|\?",
    re.IGNORECASE,
)


_DISOWNED = re.compile(
    r"(?:(?<![A-Za-z])(?:wrong|incorrect|mistaken|erroneous|false|naive|tempting|invalid|if|whether|unless"
    r"|(?:would|could|might)\s+have\s+\w+|n[o']t\s+(?:think|believe|say|claim))\s+(?:that\s+)?(?:the\s+|an?\s+|my\s+)?)$",
    re.IGNORECASE,
)
"""Words in front of a phrase after which it states nothing: `the wrong answer is`, `if the answer is`."""
_DENYING = re.compile(
    r"(?<![A-Za-z])(?:not|no|neither|nor|never|if|whether|unless|only|doubt|\w+n['’]t)(?![A-Za-z])[^.!?\n]*$",
    re.IGNORECASE,
)
"""A denial or condition in the sentence that leads up to "A is the correct answer"."""

_SHORT = 60
_CONTRAST = re.compile(r"^[\s$.,;)]*(?:\\[)\]])?\s*,?\s*(?:and\s+)?not\s+(?!sure|certain|correct|right)", re.IGNORECASE)
"""`5, not 6` doubts nothing."""


@dataclass(frozen=True, slots=True)
class Statement:
    """`start`: of the phrase; `value`, `end`: of the clause; `leading`: at the start of a line, or of a sentence that
    names a final answer; `hashes`: a `####` line; `content`: the clause."""

    start: int
    value: int
    end: int
    leading: bool
    content: str
    hashes: bool = False


def statements(text: str, letters: bool = False) -> list[Statement]:
    """The last statements of a text by place. `letters`: else also "C is the correct answer", for multiple choice."""
    found = [*_phrases(text), *_hashed(text), *_headed(text)]
    if letters and not found:
        found += _turned(text)
    kept: dict[int, Statement] = {}
    for statement in sorted(found, key=lambda s: (s.value, -s.start)):
        kept[statement.value] = statement
    return list(kept.values())


def _phrases(text: str) -> Iterator[Statement]:
    anchors = [m.start() for m in _ANCHOR.finditer(text)]
    for anchor in anchors[-LAST:]:
        before = _BEFORE.search(text, max(0, anchor - 12), anchor)
        match = _PHRASE.match(text, before.start() if before else anchor) or _PHRASE.match(text, anchor)
        if match is None:
            continue
        lead = text[max(0, match.start() - 60) : match.start()]
        if _DISOWNED.search(lead):
            continue
        final = match.group().lower().startswith(("final", "最终"))
        leading = bool(_LINE_START.search(lead) if match.start() > 0 else True) or (
            final and bool(_SENTENCE_START.search(lead))
        )
        yield _stated(text, match.start(), match.end(), leading)


def _hashed(text: str) -> Iterator[Statement]:
    for match in list(_HASHES.finditer(text))[-1:]:
        line_start = text.rfind("\n", 0, match.start()) + 1
        if re.match(r"#{0,6}\s*(?:final\s+)?(?:answer|答案)", text[match.end() : match.end() + 24], re.IGNORECASE):
            continue
        yield _stated(text, match.start(), match.end(), not text[line_start : match.start()].strip(), True)


def _headed(text: str) -> Iterator[Statement]:
    for match in list(_HEADING.finditer(text))[-1:]:
        yield _stated(text, match.start(), match.end(), True)


def _turned(text: str) -> Iterator[Statement]:
    for match in list(_REVERSED.finditer(text))[-LAST:]:
        if _DENYING.search(text, max(0, match.start() - 80), match.start()):
            continue
        yield Statement(match.start(1), match.start(1), match.end(1), False, match[1])


def _stated(text: str, start: int, place: int, leading: bool, hashes: bool = False) -> Statement:
    window = text[place : place + MAX_CLAUSE]
    skipped = re.match(r"[ :：*_\n\t\r]*", window)
    offset = skipped.end() if skipped else 0
    filler = _FILLER.match(window, offset)
    offset = filler.end() if filler else offset
    end = clause_end(window, offset)
    asked = _TAKEN_BACK.match(window, end)
    end = asked.end() if asked else end
    content = without_remark(window[offset:end].strip().removesuffix("**").rstrip())
    return Statement(start, place + offset, place + end, leading, content, hashes)


def without_remark(clause: str) -> str:
    """The clause without the remark that running text ends with: a reason, "which ..", "all in all". A remark that doubts,
    denies or offers another answer stays, so that the clause cannot be read."""
    match = _REMARK.fullmatch(clause)
    if match is None or "$" in clause[match.end("value") :] or _DOUBT.search(clause[match.end("value") :]):
        return clause
    return match["value"].strip()


def doubtful(text: str) -> bool:
    """Whether a short remark behind an answer takes it back or offers another one."""
    return len(text) <= _SHORT and bool(_DOUBT.search(text)) and not _CONTRAST.search(text)


def clause_end(window: str, start: int) -> int:
    """Where the clause that begins at `start` ends; a full stop or line end inside a formula does not end it."""
    place = start
    while place < len(window):
        stop = _STOP.search(window, place)
        formula = _FORMULA.search(window, place)
        if stop is None:
            return len(window)
        if formula is None or formula.start() >= stop.start():
            return stop.start()
        place = formula.end()
    return len(window)


def mentions(text: str) -> bool:
    """Whether a text holds a phrase that may state an answer."""
    return bool(_PHRASE.search(text) or _HASHES.search(text))
