"""The contract every traffic system's provider keeps (providers.md).

A provider serves one account or instance (one entry of `providers:`), for any number of routes. The coordinator calls,
in this order, for one write:

    observed = await provider.read(route, deadline)
    change = provider.translate(route, desired, observed, fence)     # pure: no I/O, no clock
    receipt = await provider.apply(change, deadline)                   # conditional on what `observed` was
    verified = await provider.verify(route, change, deadline)

A provider must
- be idempotent: `translate` answers an empty change (`Change.nothing`) when `observed` already is as desired;
- never write a state in which nothing is served: `translate` raises `ValueError` on an empty `Desired`;
- add before it deletes unless the system's write is atomic;
- carry the fence where the system has a place for it, and refuse (raise `Conflict`) when a newer fence stands there;
- after a timeout raise `Unreachable`: the caller reads back before any retry, so the write may have happened;
- where a write takes several calls, raise `Incomplete` when one fails after the first: the caller reads back as well;
- leave alone every record, backend and value that is not the route's own.
A provider may cache connections, never what the system serves.

Deadlines are absolute seconds of `asyncio.get_running_loop().time()`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from steerd.model.fleet import Fleet, ProviderSpec, Secret
from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Observed, Route
from steerd.providers.errors import (
    Conflict,
    Denied,
    Incomplete,
    Misconfigured,
    ProviderError,
    Refused,
    Throttled,
    Unreachable,
)
from steerd.providers.pace import Pace, Paces

__all__ = [
    "Change",
    "ChecksRights",
    "Conflict",
    "Context",
    "Denied",
    "Incomplete",
    "Lists",
    "Misconfigured",
    "Provider",
    "ProviderError",
    "Receipt",
    "Refused",
    "Throttled",
    "Unreachable",
    "Untold",
    "Verified",
    "check_listed",
]


@dataclass(frozen=True, slots=True)
class Change:
    """One conditional write, ready to send. `payload` is the provider's own (opaque to everyone else).

    `nothing` is True when the system already serves what is desired; `summary` is one line for humans, made without
    secrets.
    """

    route: str
    desired: Desired
    fence: Fence
    payload: Any = None
    nothing: bool = False
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The system said yes. `text` is its own word (a change id, a serial)."""

    route: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """What is served after a write: `in_sync` when every authoritative place answers as desired, else `text` says which
    does not."""

    in_sync: bool
    observed: Observed
    text: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What a provider is built from. `resolve` turns a secret reference into its value when called. `paces` are the
    accounts of this process: a provider whose system limits calls takes its own by `pace`."""

    fleet: Fleet
    spec: ProviderSpec
    resolve: Callable[[Secret], str]
    paces: Paces = field(default_factory=Paces)

    def __post_init__(self) -> None:
        self.paces.begin(self.spec.name)

    def pace(self, account: str, rate_per_s: float) -> Pace:
        """What to `await .take(deadline)` from before each call to `account` (a name for it that other entries of the same
        account give too)."""
        return self.paces.share(self.spec.name, account, rate_per_s)


@runtime_checkable
class Provider(Protocol):
    """See the module's text. Each provider module exposes `KIND: Kind`, `CAPABILITIES: Capabilities` and
    `build(context: Context) -> Provider`; `steerd.providers.registry` lists them.
    """

    kind: ClassVar[Kind]
    capabilities: Capabilities

    async def open(self) -> None:
        """Start listeners or sessions. Raises `Misconfigured` with what to do."""

    async def close(self) -> None:
        """Release everything; safe to call twice."""

    async def read(self, route: Route, deadline: float) -> Observed:
        """What the system serves for `route` now."""

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """Pure: the conditional write that turns `observed` into `desired`."""

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """Send the change. Raises a `ProviderError`."""

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """Ask every authoritative place what it serves now."""


class Untold(str):
    """Among rights that lack: no lack, but a sentence that says what the system does not tell, and why."""

    __slots__ = ()


@runtime_checkable
class ChecksRights(Protocol):
    """What a provider may add: its system can tell, without a write, what the credentials may do.

    The rights it asks for are those of `RIGHTS` in the provider's package, which the policies in packaging/ are tested against.
    """

    async def missing_rights(self, routes: Sequence[Route], deadline: float) -> Sequence[str]:
        """Rights that writing `routes` (at least one) needs and the credentials lack, by the system's own names; an `Untold`
        among them for what it does not tell. Raises a `ProviderError`."""


LISTED_MOST = 10_000
"""Rows that `Lists.listed` reads: what has more is read by name."""


@runtime_checkable
class Lists(Protocol):
    """What a provider may add: it reads all that stands where its entry points to, for `steerd import`."""

    async def listed(self, deadline: float, name: str | None = None) -> Sequence[Mapping[str, Any]]:
        """As the system's API tells it, over as many pages as that fills; `name` alone where it is given. Raises `Refused` for
        more than `LISTED_MOST`, and any other `ProviderError`."""


def check_listed(rows: Sized, what: str) -> None:
    """Raises `Refused` where too much has been read."""
    if len(rows) > LISTED_MOST:
        raise Refused(f"{what} has more than {LISTED_MOST} entries", "read one name with --name, or a file with --from")
