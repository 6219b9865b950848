"""Health of endpoints and domains, voices, and the diagnosis that explains them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from steerd.model.vote import Verdict

__all__ = ["Diagnosis", "DiagnosisKind", "Health", "HealthState", "Voice"]


class Health(IntEnum):
    """Ordered from best to worst; `UNKNOWN` stands outside the order and holds the last state."""

    UNKNOWN = -1
    HEALTHY = 0
    SATURATED = 1
    DEGRADED = 2
    DOWN = 3

    @property
    def word(self) -> str:
        """The lower-case word used in JSON, metrics and tables."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Voice:
    """What one vantage zone says of one endpoint: the majority of its fresh, non-abstaining agents. `check` is the one behind a
    verdict that is not healthy."""

    zone: str
    region: str
    verdict: Verdict
    all_failed: bool
    transport: bool
    reason: str | None
    layer: str | None
    agents: tuple[str, ...]
    check: str | None = None


@dataclass(frozen=True, slots=True)
class HealthState:
    """Health of one endpoint as the quorum sees it, since when, and the voices that made it so."""

    health: Health
    since: float
    decided: bool
    voices: tuple[Voice, ...]
    reason: str | None = None
    confirmed_dead: bool = False


class DiagnosisKind(StrEnum):
    """Which failure domain explains what is bad (decisions.md, section 6)."""

    NONE = "none"
    ENDPOINT = "endpoint"
    ZONE = "zone"
    REGION = "region"
    GLOBAL = "global"
    VANTAGE = "vantage"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One failure domain that explains bad endpoints of one service.

    `of` is the zone, region, endpoint or service; `label` is set for `GLOBAL` only (deploy, dependency,
    monitoring, unexplained). `health` is DOWN or DEGRADED: which run of the rules named it.
    """

    kind: DiagnosisKind
    of: str
    service: str
    health: Health
    since: float
    dead: bool = False
    label: str | None = None
