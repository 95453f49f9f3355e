"""The strict protocol: the marked final answer against the typed gold, by this project's reader. Rewards use no other."""

from __future__ import annotations

from rewards.verifier.protocols import Outcome, Protocol, Work, protocol


@protocol.register("strict")
class Strict(Protocol):
    """A marked answer only, compared with the typed gold."""

    about = "the last mark (box, answer tag, answer sentence) is the gold"
    source = "own (docs/verifier.md)"

    def grade(self, work: Work) -> Outcome:
        return work.strict
