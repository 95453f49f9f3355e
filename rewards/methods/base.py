"""No training: the start policy as it is, the row every other row is compared with."""

from __future__ import annotations

from typing import ClassVar

from rewards.method import Method, method


@method.register("base")
class Base(Method):
    """Evaluates the start policy; its run has no training part."""

    provenance: ClassVar[str] = "own"
    trains: ClassVar[bool] = False
