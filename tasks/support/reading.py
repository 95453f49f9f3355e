"""The option that free prose chooses, by rules: for benchmarks whose authors let a judge model extract it.

In: a response without its thinking and the texts of the options. Out: the option's letter or None. Order: a mark (box, answer
tag), what follows the last "answer is" (also Chinese), a label at the start or alone on the last line, a stated letter ("C is
the correct answer", "so it is C."), bracketed letters, and last the conclusion (the last sentences that name one option). This
is generous on purpose and serves only `official` rules; rewards use the strict rule. Numbers are read in tasks/numbers.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.support.numbers import bare_number, number, numbers
from tasks.support.prose import after_answer, conclusion, flat, letters_named, opening, refusal, refuses, sentences

LETTERS = "ABCDEFGHIJ"
_NO_ANSWER = "N/A"
"""What a judge model mostly extracts from a response that gives no answer."""
_STATED = re.compile(
    r"(?:option|choice)?\s*[(\[\"]?\b(?P<a>[A-J])\b[)\]\"]?[^.\n]{0,40}? is (?:the )?"
    r"(?:correct|right|best)(?: one| answer| option| choice)?\b"
    r"|\b(?:select|choose|pick|chose)\b(?: option| choice| answer)?\s*[(\[\"]?(?P<b>[A-J])\b"
    r"|选项\s*(?P<c>[A-J])\s*(?:是)?正确"
)
_ENDS = re.compile(
    r"(?:\b(?:is|are|be|to|with)|[为是选:：])\s*(?:option |choice )?[*(\[\"]*(?P<a>[A-J])[*)\]\"]*\s*[.。]?\s*$"
)
_VERB = re.compile(r"\b(?:is|are|has|have|does|do|there)\b")


def names_option(text: str, options: Sequence[str]) -> bool:
    """Whether a marked text names an option: its letter, its text or its number."""
    return bool(letters_named(text, len(options))) or same_option(text, options) is not None


def option(response: str, options: Sequence[str]) -> str | None:
    """The letter of the option that the response names last and most plainly, or None."""
    letters = LETTERS[: len(options)] or LETTERS[:9]
    text = response.strip()
    if not text:
        return None
    if text in options:
        return letters[list(options).index(text)]
    marked = conclusion(response)
    found = lettered(marked, letters) or same_option(marked, options) if marked is not None else None
    stated = after_answer(response)
    found = found or (
        stated and (lettered(stated, letters) or _behind(stated, letters) or _named(opening(stated), options))
    )
    if found or (marked is not None and not stated):
        return found or None
    if len(text) < 40 and (found := lettered(text, letters) or _named(text, options)):
        return found
    return _by_letter(text, letters, options) or _by_text(text, options)


def judge_without_option(response: str, options: Sequence[str]) -> str:
    """What a judge model writes for a reply that names no option: the predicate of a refusal, a refusal of a few words as it
    is, the value that the reply concludes with where the options are values, else that there is none."""
    if not response.strip() or not refuses(response):
        return (all(map(numbers, options)) and number(response)) or (_NO_ANSWER if response.strip() else "")
    return refusal(response) or (response.strip() if len(response.split()) <= 10 else _NO_ANSWER)


def _by_letter(text: str, letters: str, options: Sequence[str]) -> str | None:
    """A letter that the text gives without the word answer."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    for line in (lines[-1], lines[0]):
        label = re.match(rf"[*\s]*[(\[]?([{letters}])\s*[)\].:：]+[*\s]*(?!(?:or|and|,)\b)(?=\S|$)", line)
        alone = re.fullmatch(rf"[*(\[\"]*([{letters}])[*)\]\".。]*", line)
        if alone or (label and (len(lines) == 1 or line is lines[-1]) and _labels(text) == {label[1]}):
            return (alone or label)[1]  # type: ignore[index]
    said = [next(g for g in m.groups() if g) for m in _STATED.finditer(text)]
    ends = _ENDS.search(text)
    found = said[-1] if said else ends["a"] if ends else ""
    if found and found in letters:
        return found
    bracketed = re.findall(rf"[(\[]([{letters}])[)\]]", text)
    return bracketed[-1] if bracketed and len({*bracketed[-2:]}) == 1 else None


def _labels(text: str) -> set[str]:
    """The letters that label something at the start of a line."""
    return set(re.findall(r"^[*\s]*[(\[]?([A-J])\s*[)\].:：]", text, re.MULTILINE))


def _by_text(text: str, options: Sequence[str]) -> str | None:
    if options and not refuses(text):
        return _yes_no(text, options) or _concluded(text, options)
    return None


def lettered(text: str, letters: str) -> str | None:
    """The letter at the start of a phrase: `C`, `(C) 12`, `**C**`, `C. 12`, `\\text{C}`."""
    text = re.sub(r"\\(?:text|mathrm|mathbf|textbf)\s*\{|[*$`{}\"]|\\[()]", "", text).strip()
    text = re.sub(r"^(?:option|choice)\s+", "", text, flags=re.IGNORECASE)
    if re.match(rf"[(]?[{letters}][)]?(?:\s*(?:,|and|or|&)\s*|\s+)[(]?[A-J](?![A-Za-z])", text):
        return None  # several letters are no choice
    found = re.match(
        rf"[(\[]\s*([{letters}{letters.lower()}])\s*[)\]]|([{letters}])(?=$|[)\].:：,;。\s]|[^\x00-\x7f])(?!\s+[a-z])",
        text,
    )
    small = re.fullmatch(rf"[(\[]?([{letters.lower()}])[)\].]*", text)
    return (found[1] or found[2]).upper() if found else small[1].upper() if small else None


def _behind(stated: str, letters: str) -> str | None:
    """A capital letter right behind "the answer is", whatever follows: an article would be small there."""
    found = re.match(rf"[*\s]*([{letters}])\s+(?=[a-z0-9])", stated)
    return found[1] if found else None


def same_option(text: str, options: Sequence[str]) -> str | None:
    """The letter of the one option that the text is, as words or as a number."""
    bare, values = _squeezed(text), numbers(text)
    held = [
        c
        for c, o in zip(LETTERS, options, strict=False)
        if bare
        and (
            _squeezed(o) == bare
            or (len(values) == 1 and bare_number(text) and [float(n) for n in numbers(o)] == [float(values[0])])
        )
    ]
    return held[0] if len(held) == 1 else None


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", flat(text)).casefold().strip(".")


def _named(text: str, options: Sequence[str]) -> str | None:
    """The letter of the one option whose text the phrase holds; of nested ones the longest; by number where all are."""
    low = " " + re.sub(r"\s+", " ", flat(text)).casefold() + " "
    held = []
    for letter, choice in zip(LETTERS, options, strict=False):
        wanted = re.sub(r"\s+", " ", flat(choice)).casefold().strip(" ,;.")
        places = (
            [m.start() for m in re.finditer(rf"(?<![a-z0-9_.]){re.escape(wanted)}(?![a-z0-9_])(?!\.\d)", low)]
            if wanted
            else []
        )
        if places:
            held.append((places[-1], len(wanted), letter))
    held = [h for h in held if not any(o[1] > h[1] and o[0] <= h[0] < o[0] + o[1] for o in held)]
    if len(held) == 1:
        return held[0][2]
    if not held and (found := numbers(text)):
        values = [[float(n) for n in numbers(o)] for o in options]
        same = [c for c, v in zip(LETTERS, values, strict=False) if v == [float(found[-1])]]
        return same[0] if len(same) == 1 else None
    return None


def _yes_no(text: str, options: Sequence[str]) -> str | None:
    """For a yes/no question: a leading yes or no, else the last one, else whether the conclusion is negated."""
    known = {o.strip().casefold().rstrip("."): c for c, o in zip(LETTERS, options, strict=False)}
    if set(known) != {"yes", "no"}:
        return None
    start = re.match(r"\W*(yes|no)\b", text, re.IGNORECASE)
    said = [start[1]] if start else re.findall(r"\b(yes|no)\b(?=[,.*\"]|$)", text, re.IGNORECASE)
    if said:
        return known[said[-1].casefold()]
    stated = [s for s in sentences(text) if _VERB.search(s) and "boxed" not in s and len(s.split()) > 3]
    if not stated:
        return None
    concluded = re.search(r"\b(?:therefore|thus|so|hence|conclusion)\b", stated[-1], re.IGNORECASE)
    first_or_last = stated[-1] if concluded else stated[0]
    return known["no" if re.search(r"\b(?:not|n't|no|neither|isn't|doesn't|aren't)\b|n't\b", first_or_last) else "yes"]


def _concluded(text: str, options: Sequence[str]) -> str | None:
    """The option named by the last sentence that names exactly one."""
    listed = len(_labels(text)) > 1
    for sentence in reversed(sentences(text)):
        found = None if listed and _labels(sentence) else _named(sentence, options)
        if found:
            return found
    return None


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance; beyond 1,000 characters of one side the rest of it counts as inserted."""
    rest, a = max(0, len(a) - 1000), a[:1000]
    row = list(range(len(b) + 1))
    for i, char in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (char != other))
    return row[-1] + rest
