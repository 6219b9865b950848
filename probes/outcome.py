"""What one look told: `Outcome` (decisions.md, section 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from probes.redact import clean, sendable

__all__ = ["DETAIL_LIMIT", "REASON_LIMIT", "Layer", "Outcome", "Stages", "Status"]

DETAIL_LIMIT = 512
"""Characters of `Outcome.detail`."""

REASON_LIMIT = 160
"""Characters of `Outcome.reason`."""


class Status(StrEnum):
    """The result. ERROR: the probe could not do its job; it never counts against the target."""

    PASS = "PASS"
    FAIL = "FAIL"
    SLOW = "SLOW"
    SATURATED = "SATURATED"
    ERROR = "ERROR"


class Layer(StrEnum):
    """How deep a check looks, from cheap to telling."""

    LIVENESS = "liveness"
    READINESS = "readiness"
    DEPENDENCY = "dependency"
    PROGRESS = "progress"
    USER_PATH = "user_path"
    CORRECTNESS = "correctness"


@dataclass(frozen=True, slots=True)
class Stages:
    """How long each stage of a look took, in seconds; None where it did not happen.

    `dns_s`, `connect_s` and `tls_s` are the lengths of those stages (None on a kept-alive connection). `first_byte_s`
    and `first_token_s` count from the moment the request was written. `total_s` is the whole look.
    """

    dns_s: float | None = None
    connect_s: float | None = None
    tls_s: float | None = None
    first_byte_s: float | None = None
    first_token_s: float | None = None
    total_s: float | None = None

    def known(self) -> dict[str, float]:
        """The stages that happened, by name."""
        pairs = (
            ("dns_s", self.dns_s),
            ("connect_s", self.connect_s),
            ("tls_s", self.tls_s),
            ("first_byte_s", self.first_byte_s),
            ("first_token_s", self.first_token_s),
            ("total_s", self.total_s),
        )
        return {name: value for name, value in pairs if value is not None}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One look's result.

    `reason` is short and the same for the same fault; `detail` says more. Both are redacted and bounded here, so that
    no probe can forget to. `transport` is True on a FAIL that is refused, unreachable, timed out or no progress, and on an ERROR
    of a look that could not reach the target and has nothing to say of it. `unanswered` is True on a FAIL that ran out of time
    after the connection stood: busy or hung.
    `host_error` marks an ERROR of the agent's own host (descriptors, resolver, local network). `started_late_s` is
    filled by the scheduler. `version` is the endpoint's version label, if any was seen. `readings` are numbers by name
    (units in the names); `tokens` is how many the look spent.
    """

    status: Status
    layer: Layer
    reason: str | None = None
    transport: bool = False
    unanswered: bool = False
    host_error: bool = False
    started_late_s: float = 0.0
    duration_s: float = 0.0
    stages: Stages = Stages()
    version: str | None = None
    detail: str | None = None
    readings: Mapping[str, float] = field(default_factory=dict)
    tokens: int = 0

    def __post_init__(self) -> None:
        if self.reason is not None:
            object.__setattr__(self, "reason", clean(self.reason, REASON_LIMIT))
        if self.detail is not None:
            object.__setattr__(self, "detail", clean(self.detail, DETAIL_LIMIT))
        if self.version is not None:
            object.__setattr__(self, "version", clean(self.version, 64))
        if not all(map(str.isascii, self.readings)):
            object.__setattr__(self, "readings", {sendable(name): value for name, value in self.readings.items()})

    @property
    def ok(self) -> bool:
        """True when the target did what it should within its objective."""
        return self.status is Status.PASS

    def late(self, started_late_s: float) -> Outcome:
        """The same outcome with the delay from intended to actual start filled in."""
        return replace(self, started_late_s=started_late_s)
