"""The beacon provider. It has no system to write to: what is decided is told by every coordinator's own `/beacon/NAME`."""

from __future__ import annotations

from typing import ClassVar

from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Observed, Route
from steerd.providers.asking import remaining_s
from steerd.providers.base import Change, Conflict, Context, Receipt, Verified
from steerd.providers.beacon import CAPABILITIES, KIND
from steerd.providers.beacon.translate import Lit, Write, observed_from, translate

__all__ = ["Beacon"]


class Beacon:
    """Remembers what it was told, so that status and drift have something to compare with."""

    kind: ClassVar[Kind] = KIND
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, context: Context) -> None:
        del context  # its `state` file is the coordinator's
        self._lit: dict[str, Lit] = {}

    async def open(self) -> None:
        """Nothing to start: the API listens."""

    async def close(self) -> None:
        """Nothing is held open."""

    async def read(self, route: Route, deadline: float) -> Observed:
        """What was told last."""
        remaining_s(deadline, 1.0)
        return observed_from(route, self._lit.get(route.key))

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """See `steerd.providers.beacon.translate`."""
        return translate(route, desired, observed, fence)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """The decision is stored by now, and with that it is told."""
        remaining_s(deadline, 1.0)
        write: Write = change.payload
        standing = self._lit.get(write.route)
        if standing is not None and standing.fence.newer_than(change.fence):
            raise Conflict(f"{change.route}: {standing.fence.text!r} is newer than {change.fence.text!r}")
        if standing != write.old:
            raise Conflict(f"{change.route}: it was told something else since it was read")
        self._lit[write.route] = write.new
        return Receipt(change.route)

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """Read back."""
        observed = await self.read(route, deadline)
        again = translate(route, change.desired, observed, change.fence)
        return Verified(in_sync=again.nothing, observed=observed, text="" if again.nothing else again.summary)
