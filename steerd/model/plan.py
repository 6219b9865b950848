"""What was decided: drains, pins, freezes, and the decision that carries them to the routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from steerd.model.route import Desired

__all__ = ["Active", "Alert", "Cause", "Decision", "Drain", "Freeze", "HardState", "Phase", "Pin", "Strain", "Veto"]

DomainKind = Literal["endpoint", "zone", "region"]


class Cause(StrEnum):
    """Why a domain is drained; it sets which limits bind the move (decisions.md, sections 7 to 9)."""

    DEAD = "dead"
    DOWN = "down"
    GRAY = "gray"
    OPERATOR = "operator"
    NEW = "new"


class Phase(StrEnum):
    """DRAINING: fraction grows. HELD: out. RESTORING: fraction shrinks."""

    DRAINING = "draining"
    HELD = "held"
    RESTORING = "restoring"


@dataclass(frozen=True, slots=True)
class Strain:
    """Receivers of a drain as they stand: mean error rate over 60 s (0..1), and the median TTFT in seconds (None: not measured)."""

    errors: float
    ttft_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """One domain on its way out, out, or on its way back. Frozen: each step replaces it.

    `service` is None when the drain covers every service (operator drains). `fraction` is the part of the move done:
    1.0 is fully out. `until` is when an operator's drain ends. `step_at` is when its last step was taken.
    `most` is how far it may go: under 1.0 for a repeated gray drain, or one that stopped because its receivers suffered.
    `by` is "automatic" or an operator's name. `before` is how the receivers of each service stood when a staged drain began.
    """

    name: str
    kind: DomainKind
    cause: Cause
    by: str
    reason: str
    since: float
    service: str | None = None
    phase: Phase = Phase.DRAINING
    fraction: float = 0.0
    step_at: float = 0.0
    until: float | None = None
    well_since: float | None = None
    now: bool = False
    force: bool = False
    accept_data_loss: bool = False
    most: float = 1.0
    before: tuple[tuple[str, Strain], ...] = ()

    @property
    def automatic(self) -> bool:
        return self.by == "automatic"

    @property
    def key(self) -> str:
        """Unique among drains: an operator's and an automatic drain of one domain may stand side by side."""
        return f"{'auto' if self.automatic else 'operator'}:{self.service or '*'}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """An operator holds a domain's share; automation never changes it until it expires."""

    name: str
    share: float
    by: str
    reason: str
    since: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """An operator stopped all automatic moves."""

    by: str
    reason: str
    since: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Active:
    """The region that serves an active-passive service, since when (steady seconds), and the region an operator called back."""

    region: str
    since: float
    called: str | None = None


@dataclass(frozen=True, slots=True)
class Veto:
    """A move a guard stopped: what, which guard, and the numbers behind it, in words."""

    service: str
    name: str
    guard: str
    text: str
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Alert:
    """Something a human should know. One per (kind, of); `action` says what to do."""

    kind: str
    of: str
    text: str
    since: float
    action: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One persisted decision: what every route it touches shall serve, and why.

    (`epoch`, `seq`) orders decisions; `routes` maps route key -> desired state; `shares` endpoint -> share of the
    service; `why` stores voices, diagnosis, guards and moves for `explain`.
    """

    epoch: int
    seq: int
    at: float
    service: str
    routes: Mapping[str, Desired]
    shares: Mapping[str, float]
    config_hash: str
    plan: str
    moves: tuple[str, ...] = ()
    why: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.epoch}.{self.seq}"


@dataclass(frozen=True, slots=True)
class Penalty:
    """How much a domain flapped (decisions.md, section 5): `value` at the time `at` (steady seconds), `flaps` entries into down
    since the penalty was last under `reuse`, `suppressed` between reaching `suppress` and falling under `reuse`."""

    value: float
    at: float
    flaps: int = 1
    suppressed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HardState:
    """What must survive a restart (architecture.md): kept in the store, written with every decision."""

    drains: tuple[Drain, ...] = ()
    pins: tuple[Pin, ...] = ()
    freeze: Freeze | None = None
    desired: Mapping[str, Desired] = field(default_factory=dict)
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    last_change: Mapping[str, float] = field(default_factory=dict)
    penalties: Mapping[str, Penalty] = field(default_factory=dict)
    factors: Mapping[str, float] = field(default_factory=dict)
    removed: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    active: Mapping[str, Active] = field(default_factory=dict)
    lags: Mapping[str, float] = field(default_factory=dict)
    epoch: int = 0
    seq: int = 0
