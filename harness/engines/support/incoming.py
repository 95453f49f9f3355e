"""Requests that wait for a free place in an engine, pulled one at a time from any iterable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from harness.engines.base import Request


class Incoming:
    """True while requests are left. A sequence is checked whole before any work; an iterator, which may render its
    prompts as they are pulled, request by request, at most one ahead of what the engine has taken.

    check: raises EngineError for a request that cannot be answered.
    """

    def __init__(self, requests: Iterable[Request], check: Callable[[Request], None]) -> None:
        self._check = check
        if isinstance(requests, Sequence):
            for request in requests:
                check(request)
        self._source = iter(requests)
        self._next: Request | None = None

    def __bool__(self) -> bool:
        if self._next is None:
            self._next = next(self._source, None)
            if self._next is not None:
                self._check(self._next)
        return self._next is not None

    def take(self) -> Request:
        """The next request. Call it only while there is one."""
        assert self, "no request is left"
        request, self._next = self._next, None
        assert request is not None
        return request
