"""What one look at one endpoint told us, as the agent hands it on.

`probes.Outcome` is the probe's own word; a `Sample` is the part of it that the
pure core needs, together with when and why the look was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["SELF", "Layer", "Reading", "Sample", "Status"]


SELF = "agent:"
"""Before its name: the subject of what an agent reads of itself."""


class Status(StrEnum):
    """Result of one look (decisions.md, section 1)."""

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
class Reading:
    """A number seen while looking: replication lag (s), queue depth, TTFT (s), tokens spent.

    `subject` is an endpoint or dependency name, `age_s` how old the value was when sent.
    """

    subject: str
    name: str
    value: float
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at one endpoint by one check.

    `at` is the steady time of its start in seconds. `late_s` is the delay from the intended to the
    actual start. `counts_as` is how many looks it stands for (a user-path confirm counts as `fall`).
    `unpaid`: a FAIL before anything was asked for (never connected), so that it cost no tokens: it counts as one look, and is
    repeated as looks of a free check are, whatever `counts_as` says; a lost packet must not be a whole agent's word.
    `confirm`: a look made because another failed. It counts for the verdict, not for the failure rate: a sample that is drawn when
    things look bad says nothing of how often they are.
    `host_error` marks an ERROR of the agent's own host (descriptors, resolver, local network).
    """

    endpoint: str
    check: str
    layer: Layer
    status: Status
    at: float
    reason: str | None = None
    transport: bool = False
    late_s: float = 0.0
    duration_s: float = 0.0
    counts_as: int = 1
    unpaid: bool = False
    confirm: bool = False
    host_error: bool = False
    version: str | None = None
    readings: Mapping[str, float] = field(default_factory=dict)
