"""Another answer in place of a response's own: token ids in, token ids out, everything before the answer as sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def replace_answer(
    ids: Sequence[int],
    answer: str,
    encode: Callable[[str], tuple[int, ...]],
    decode: Callable[[Sequence[int]], str],
    mark: str = "<answer>",
) -> tuple[tuple[int, ...], int]:
    """The response up to the content behind its last `mark`, with its leading blanks, then `answer`; and how many of the
    last tokens are the answer's.

    Tokens are kept while they end before the content; what a token beyond them had of the mark or of the blanks is encoded
    anew together with the answer. Raises ValueError for a response without the mark.
    """
    text = decode(ids)
    start = text.rindex(mark) + len(mark)
    cut = start + len(text[start:]) - len(text[start:].lstrip())
    kept = _whole(ids, cut, decode)
    rest = text[len(decode(ids[:kept])) : cut]
    new = encode(rest + answer)
    return (*ids[:kept], *new), len(new) - _whole(new, len(rest), decode)


def _whole(ids: Sequence[int], characters: int, decode: Callable[[Sequence[int]], str]) -> int:
    """The largest number of tokens whose text has at most so many characters (bisection over the decoder)."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high + 1) // 2
        if len(decode(ids[:middle])) <= characters:
            low = middle
        else:
            high = middle - 1
    return low
