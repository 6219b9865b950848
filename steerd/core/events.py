"""Everything that can enter the core. `Engine.step(event, now)` is the one door (architecture.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from steerd.model.fleet import Fleet
from steerd.model.plan import Decision, HardState
from steerd.model.route import Capabilities, Observed
from steerd.model.sample import Reading
from steerd.model.vote import Ballot, Heartbeat

__all__ = [
    "AgentLost",
    "ApplyFinished",
    "BallotReceived",
    "ConfigLoaded",
    "DemandObserved",
    "Event",
    "HookFinished",
    "LeadershipChanged",
    "OperatorCommand",
    "ReadingReceived",
    "RouteObserved",
    "StateFollowed",
    "Tick",
    "VerifyFinished",
]


@dataclass(frozen=True, slots=True)
class BallotReceived:
    """A ballot or heartbeat arrived from an authenticated agent."""

    frame: Ballot | Heartbeat


@dataclass(frozen=True, slots=True)
class AgentLost:
    """An agent's stream closed. Its votes age by themselves; this is for display and alerts only."""

    agent: str


@dataclass(frozen=True, slots=True)
class ReadingReceived:
    """Numbers from an agent outside a ballot."""

    agent: str
    readings: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class DemandObserved:
    service: str
    value: float | None


@dataclass(frozen=True, slots=True)
class RouteObserved:
    """A provider was read (at start, every 60 s for drift, or after an error). `error` when it could not be."""

    route: str
    observed: Observed | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ApplyFinished:
    """The end of one `Apply`. `result`: applied, unchanged (already so), conflict (somebody else wrote), refused,
    throttled, unreachable, misconfigured, no-lease, not-persisted. `accepted_at` is set when the provider said yes.
    `retry_after_s` carries the provider's own wish."""

    route: str
    decision: str
    result: Literal[
        "applied", "unchanged", "conflict", "refused", "throttled", "unreachable", "misconfigured", "no-lease",
        "not-persisted",
    ]  # fmt: skip
    text: str = ""
    accepted_at: float | None = None
    retry_after_s: float | None = None
    observed: Observed | None = None


@dataclass(frozen=True, slots=True)
class VerifyFinished:
    """What is really served after an apply. `in_sync` when every authoritative place answers as desired."""

    route: str
    decision: str
    in_sync: bool
    text: str = ""
    authoritative_at: float | None = None
    observed: Observed | None = None


@dataclass(frozen=True, slots=True)
class HookFinished:
    service: str
    region: str
    step: int
    ok: bool
    text: str = ""


@dataclass(frozen=True, slots=True)
class OperatorCommand:
    """An operator asked for something. `id` comes back in the `Answer` effect.

    verb: drain, restore, pin, unpin, freeze, unfreeze. `for_s` is a duration, `share` for pin. `accept_data_loss` passes the data
    gate of a region's takeover or failback.
    """

    id: str
    verb: Literal["drain", "restore", "pin", "unpin", "freeze", "unfreeze"]
    by: str
    name: str = ""
    reason: str = ""
    for_s: float | None = None
    share: float | None = None
    now: bool = False
    force: bool = False
    accept_data_loss: bool = False


@dataclass(frozen=True, slots=True)
class LeadershipChanged:
    """This coordinator won or lost the lead. On winning, `state` and `open` come from the store: `open` are persisted
    decisions without a receipt for the named routes."""

    leading: bool
    epoch: int
    leader: str | None
    state: HardState | None = None
    open: tuple[tuple[Decision, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class StateFollowed:
    """What the leader stored: a follower shows it, and begins from it what it shares with the leader (active regions)."""

    state: HardState


@dataclass(frozen=True, slots=True)
class ConfigLoaded:
    """A checked config replaces the old one. `accepted` passes the removal guard of decisions.md section 12."""

    fleet: Fleet
    capabilities: Mapping[str, Capabilities] = field(default_factory=dict)
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed. `Engine.wake_at` says when the next one is needed."""


Event = (
    BallotReceived
    | AgentLost
    | ReadingReceived
    | DemandObserved
    | RouteObserved
    | ApplyFinished
    | VerifyFinished
    | HookFinished
    | OperatorCommand
    | LeadershipChanged
    | StateFollowed
    | ConfigLoaded
    | Tick
)
