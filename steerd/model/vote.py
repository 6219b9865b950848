"""Votes and ballots: what agents tell coordinators, and what coordinators ask back.

These are the frames of `/v1/agents/{name}/stream`; `steerd.wire` turns them into msgpack.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from steerd.model.sample import Layer, Reading

__all__ = ["Ballot", "CheckCounts", "Confirm", "Heartbeat", "Verdict", "Vote", "Welcome"]


class Verdict(StrEnum):
    """One agent's view of one endpoint (decisions.md, section 2)."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    SATURATED = "saturated"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class CheckCounts:
    """Looks of one check since the agent started: cumulative, so that lost ballots lose nothing."""

    check: str
    passed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Vote:
    """One agent's vote on one endpoint.

    `sequence` grows with every change of this vote within the agent's `incarnation`. `all_failed` says that the last looks of the
    check behind an unhealthy verdict all failed: `fall` of them, or as many more as it takes where this agent loses looks anyway;
    `transport` that they all failed in transport (refused, unreachable, timed out, no progress). `suspect` marks a first failure
    not yet confirmed; `paid` that a check that costs tokens is among what failed.
    `errors` names checks left out of the verdict because the probe itself could not do its job.
    """

    endpoint: str
    verdict: Verdict
    sequence: int
    layer: Layer | None = None
    check: str | None = None
    reason: str | None = None
    transport: bool = False
    all_failed: bool = False
    suspect: bool = False
    counts: tuple[CheckCounts, ...] = ()
    version: str | None = None
    errors: tuple[str, ...] = ()
    paid: bool = False


@dataclass(frozen=True, slots=True)
class Ballot:
    """Votes of one agent, up the stream. `full` replaces everything known of this incarnation.

    `incarnation` grows with every start of the agent; `number` with every frame it sends (per stream or not: only
    growth matters). `abstaining` carries the reason while the agent doubts itself; every vote is then unknown.
    """

    agent: str
    incarnation: int
    number: int
    full: bool
    votes: tuple[Vote, ...] = ()
    readings: tuple[Reading, ...] = ()
    abstaining: str | None = None
    config_hash: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Refreshes every vote already sent, except of the endpoints in `stale` (last liveness look too old)."""

    agent: str
    incarnation: int
    number: int
    stale: tuple[str, ...] = ()
    readings: tuple[Reading, ...] = ()
    abstaining: str | None = None
    config_hash: str = ""


@dataclass(frozen=True, slots=True)
class Confirm:
    """Down the stream: look at these endpoints now, as often as a verdict needs, `confirm_gap` apart.

    Checks that cost tokens are left out, but for the endpoints in `paid`: there one of them is what failed.
    """

    endpoints: tuple[str, ...]
    paid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Welcome:
    """Down the stream, first frame: who answers. The agent then sends a full ballot.

    `incarnation` is the highest this coordinator has seen of the agent: an agent whose clock was set back starts above it.
    """

    coordinator: str
    config_hash: str
    leading: bool = False
    incarnation: int = -1
