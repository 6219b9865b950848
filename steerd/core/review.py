"""Review: what the drain book needs to know of one service besides the book itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from steerd.core import guards
from steerd.core.domains import Domain
from steerd.model.health import Diagnosis
from steerd.model.plan import Drain, Freeze, Veto
from steerd.model.rules import Ramp

if TYPE_CHECKING:
    from steerd.core.limits import Limits

__all__ = ["Review"]


@dataclass(slots=True)
class Review:
    """One look at one service: its diagnosis, its published shares, and whom to ask. `vetoes` collects what was stopped."""

    service: str
    diagnoses: tuple[Diagnosis, ...]
    shares: Mapping[str, float]
    standing: Callable[[], guards.Standing]
    ramp: Ramp
    everywhere: bool
    frozen: Freeze | None
    room: Callable[[Drain], str | None]
    limits: Limits
    takeover: Callable[[str, Domain], Veto | str | None] = lambda name, kind: None
    vetoes: list[Veto] = field(default_factory=list)
