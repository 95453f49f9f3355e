"""A marked answer to a multiple-choice question in, the letters that it names out, and whether it stands by one of them.

A letter counts only if all else that stands there says nothing different: nothing, the option's own text, words of that
text, or a reason ("because ..") that names no other option. A choice never goes through LaTeX.
"""

from __future__ import annotations

import re

from rewards.verifier.answers import exact, normal

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LETTER_FORM = re.compile(
    r"(?:(?i:the\s+)?(?i:correct\s+)?(?i:answer|option|choice)\s*(?i:is|:)?\s*)?([A-Z])(?:$|[.:,)\]}](?:\s|$)|\s+[-–—]\s)"
)
_BRACKETED = re.compile(r"(?<![A-Za-z\\])[(\[]\s*\{?\s*([A-Z])\s*\}?[.:]?\s*[)\]]")
_DENIED = re.compile(
    r"\b(?:not|neither|nor|except|excluding|excluded|eliminated?|ruled?\s+out|\w+n['’]t|cannot|never|wrong|incorrect|false)\b",
    re.IGNORECASE,
)
_HEDGED = re.compile(
    r"\b(?:maybe|perhaps|possibly|probably|either|unsure|might|could|unless|guess|or\s+(?:else\s+)?[(\[]?[A-Z](?![A-Za-z])|instead)\b|\?",
    re.IGNORECASE,
)
"""Words that take a letter back; a hedged choice names none."""
_LETTER_LIST = re.compile(r"[A-Z](?:\s*(?:,|\band\b|&|;|\s)\s*[A-Z])+")
_COMMANDS = re.compile(
    r"\\(?:text|mathrm|mathbf|textbf|textit|textrm|mathit|mathsf|rm|bf|mbox|operatorname|boxed|textnormal|mathtt|texttt)(?![a-zA-Z])\s*"
)
_OPENING = re.compile(
    r"(?:(?i:the\s+)?(?i:correct\s+|right\s+|best\s+)?(?i:answer|option|choice)\s*(?i:is|:)?\s*)?[(\[{\s]*([A-Z])(?![A-Za-z])[)\]}]*"
)
_REASON = re.compile(r"(?:because|since|as|so|for|which|given that|due to)\b", re.IGNORECASE)
_LITTLE_WORDS = "the a an is are it of answer option choice correct right best one and that this its"
_FILLER = frozenset(_LITTLE_WORDS.split())


def choice_text(text: str) -> str:
    """An answer to a multiple-choice question without LaTeX and Markdown wrappers."""
    text = normal.printable(text).replace("$", "").replace("\\(", "").replace("\\)", "")
    text = _COMMANDS.sub("", text)
    text = re.sub(r"\\[,;:! ]|\\q?quad(?![a-z])|~|\*\*|__|`|\"", " ", text)
    text = re.sub(r"\s+", " ", text).strip(" .")
    wrapped = re.fullmatch(r"\{+([^{}]*)\}+", text)
    return wrapped[1].strip(" .") if wrapped else text


def letters(text: str, count: int) -> tuple[str, ...]:
    """The option letters that a marked answer names: `C`, `(C) 12`, `12 (C)`, `C. 12`, `option C`, `A and C`."""
    text = choice_text(text)
    allowed = LETTERS[: count or 10]
    if len(text) == 1 and text.upper() in allowed:
        return (text.upper(),)
    if _DENIED.search(text) or _HEDGED.search(text):
        return ()
    bracketed = sorted({letter for letter in _BRACKETED.findall(text) if letter in allowed})
    if bracketed:
        return tuple(bracketed)
    bare = re.sub(r"[()\[\]{}]", " ", text).strip()
    if _LETTER_LIST.fullmatch(bare):
        found = re.findall(r"[A-Z]", re.sub(r"\band\b", " ", bare))
        return tuple(sorted({*found})) if all(f in allowed for f in found) else ()
    small = re.fullmatch(r"\(?([a-z])\)", text)
    found_one = _LETTER_FORM.match(text.lstrip("([{"))
    letter = small[1].upper() if small else found_one[1] if found_one else ""
    return (letter,) if letter and letter in allowed else ()


def right(gold: str, extracted: str, choices: tuple[str, ...]) -> bool:
    """Whether a marked answer names the gold's option, or options, and no other."""
    wanted = tuple(sorted({*re.findall(r"[A-Z]", gold)}))
    place = LETTERS.index(gold) if re.fullmatch(r"[A-Z]", gold) else -1
    if place < 0 and not re.fullmatch(r"[A-Z](?:\s*(?:,|and|&)?\s*[A-Z])*", gold):
        return normal.words(gold) == normal.words(extracted)
    if len(choice_text(extracted)) > 1:
        said = normal.words(extracted)
        written = [n for n, c in enumerate(choices) if c.strip() and normal.words(choice_text(c)) == said]
        if written:
            return place in written
    if place >= 0 and _with_its_text(gold, extracted, choices):
        return True
    named = letters(extracted, len(choices))
    if len(named) > 1:
        return named == wanted and place < 0
    if place < 0:
        return False
    if named:
        return named == wanted and stands(named[0], extracted, choices)
    if _opened_by(gold, extracted) and stands(gold, extracted, choices):
        return True
    if place >= len(choices) or not choices[place].strip():
        return False
    return same_option(choices[place], extracted)


def _with_its_text(letter: str, extracted: str, choices: tuple[str, ...]) -> bool:
    """`(B) not enough information` where B says so: the words of an option take nothing back."""
    place, text = LETTERS.index(letter), choice_text(extracted)
    match = _OPENING.match(text)
    if match is None or match[1] != letter or place >= len(choices) or not choices[place].strip():
        return False
    own = normal.words(choice_text(choices[place]))
    return bool(own) and normal.words(text[match.end() :].lstrip(" .,:;)]}–—-")) == own


def _opened_by(letter: str, extracted: str) -> bool:
    text = choice_text(extracted)
    match = _OPENING.match(text)
    return match is not None and match[1] == letter and not _DENIED.search(text) and not _HEDGED.search(text)


def stands(letter: str, extracted: str, choices: tuple[str, ...]) -> bool:
    """Whether what stands beside a letter says the same: nothing, its own option, words of it, or a reason."""
    text = choice_text(extracted)
    if len(text) == 1:
        return True
    match = _OPENING.match(text)
    at_start = match is not None and match[1] == letter
    if at_start and match is not None:
        rest = text[match.end() :]
    else:
        rest = re.sub(rf"[(\[]\s*\{{?\s*{letter}\s*\}}?[.:]?\s*[)\]]|^\(?{letter.lower()}\)$", " ", text)
    rest = rest.strip(" .,:;)]}([{–—-*").removesuffix(")")
    if not rest:
        return True
    own = choices[LETTERS.index(letter)] if LETTERS.index(letter) < len(choices) else ""
    if own.strip() and same_option(own, rest):
        return True
    return _harmless(rest, own, [c for c in choices if c != own and c.strip()])


def _harmless(rest: str, own: str, others: list[str]) -> bool:
    """Words of the option's own text and little words, or a reason, or any words where no option is known."""
    if re.search(r"[/&+=→<>|;]|(?<![A-Za-z])[A-Z](?![A-Za-z'’])", re.sub(r"^A(?=\s+[a-z])", "", rest)):
        return False
    low = normal.words(rest)
    if any(re.search(rf"(?<!\w){re.escape(normal.words(choice_text(c)))}(?!\w)", low) for c in others):
        return False
    if _REASON.match(rest):
        return True
    words = re.findall(r"[\w.]+", low)
    if not words:
        return False
    if own.strip() or others:
        return {*words} <= _FILLER | {*re.findall(r"[\w.]+", normal.words(choice_text(own)))}
    return "or" not in words and not re.fullmatch(r"[\W\d]*", rest)


def same_option(option: str, extracted: str) -> bool:
    """The option's own text, or the number that it is. A text that tidying empties (`=`, `?`) counts only as written."""
    given, wanted = choice_text(extracted), choice_text(option)
    if given and given == wanted:
        return True
    tidied = (normal.words(given), normal.squeeze(normal.clean(given)))
    if any(
        g and g == w for g, w in zip(tidied, (normal.words(wanted), normal.squeeze(normal.clean(wanted))), strict=True)
    ):
        return True
    left, right = exact.read(normal.clean(option)), exact.read(normal.clean(extracted))
    return left is not None and right is not None and exact.equal(left, right)
