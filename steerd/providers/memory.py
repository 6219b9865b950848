"""A traffic system in memory, for tests and the simulator: weighted records with a compare-and-set, faults on demand.

The `System` is the far side (what a DNS service would hold) and outlives any number of providers on it, as a real one
outlives coordinators.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Member, Observed, Route
from steerd.providers.base import Change, Conflict, Context, Provider, ProviderError, Receipt, Unreachable, Verified

__all__ = ["CAPABILITIES", "KIND", "Fault", "Memory", "Record", "System", "build"]

KIND = Kind("memory", "nothing but memory: for trials and tests, no traffic moves")

CAPABILITIES = Capabilities(weight_max=10_000, atomic=True, compare_and_set=True, ttl=True)


@dataclass(frozen=True, slots=True)
class Record:
    """What the system serves at one name. `version` grows with every change, whoever makes it."""

    members: Mapping[str, Member]
    ttl_s: float
    fence: Fence | None = None
    version: int = 1


@dataclass(frozen=True, slots=True)
class Fault:
    """One call that goes wrong. `after`: the write is carried out and the answer is lost all the same."""

    error: ProviderError
    after: bool = False


@dataclass(slots=True)
class System:
    """The far side. `reads` and `writes` are faults for the next calls, first in, first out; `log` every write done."""

    records: dict[str, Record] = field(default_factory=dict)
    reads: deque[Fault] = field(default_factory=deque)
    writes: deque[Fault] = field(default_factory=deque)
    log: list[tuple[str, Record]] = field(default_factory=list)
    down: bool = False

    def edit(self, name: str, weights: Mapping[str, int], values: Mapping[str, tuple[str, ...]] | None = None) -> None:
        """Somebody else changes weights at `name`: targets not named stay, the fence stays."""
        old = self.records.get(name, Record({}, 30.0, version=0))
        found = values or {}
        edited = {
            t: Member(t, w, found.get(t, old.members[t].values if t in old.members else ())) for t, w in weights.items()
        }
        self.records[name] = replace(old, members={**old.members, **edited}, version=old.version + 1)

    def put(self, name: str, record: Record) -> None:
        """Carry out one write."""
        self.records[name] = record
        self.log.append((name, record))


@dataclass(frozen=True, slots=True)
class _Write:
    name: str
    old: Record | None
    members: tuple[Member, ...]
    ttl_s: float


class Memory:
    """The provider over a `System`. `capabilities` may be those of another kind, to rehearse it."""

    kind: ClassVar[Kind] = KIND

    def __init__(self, system: System | None = None, capabilities: Capabilities = CAPABILITIES) -> None:
        self.system = system if system is not None else System()
        self.capabilities = capabilities

    async def open(self) -> None:
        """Nothing to start."""

    async def close(self) -> None:
        """Nothing is held open."""

    async def read(self, route: Route, deadline: float) -> Observed:
        """What the record holds."""
        del deadline  # nothing here takes time
        self._fail(self.system.reads, after=False)
        record = self.system.records.get(route.name)
        if record is None:
            return Observed(weights={t.key: 0 for t in route.targets}, exists=False)
        mine = {t.key for t in route.targets}
        return Observed(
            weights={key: m.weight if (m := record.members.get(key)) else 0 for key in sorted(mine)},
            values={key: m.values for key in sorted(mine) if (m := record.members.get(key)) and m.weight > 0},
            fence=record.fence,
            ttl_s=record.ttl_s,
            foreign=tuple(sorted(set(record.members) - mine)),
            token=record,
        )

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """Raises ValueError on an empty state."""
        if desired.empty:
            raise ValueError(f"{route.key}: a state in which nothing is served is never written")
        old = observed.token if isinstance(observed.token, Record) else None
        same = old is not None and old.ttl_s == route.ttl_s and all(_as(old, m) for m in desired.members)
        fenced = old is not None and old.fence is not None and old.fence.epoch >= fence.epoch
        return Change(
            route=route.key,
            desired=desired,
            fence=fence,
            payload=_Write(route.name, old, desired.members, route.ttl_s),
            nothing=same and (fenced or not self.capabilities.compare_and_set),
            summary=f"{route.name}: " + " ".join(f"{m.target}={m.weight}" for m in desired.members),
        )

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """Replace the record if it still is the one that was read (where the capabilities say so)."""
        del deadline  # nothing here takes time
        write: _Write = change.payload
        fault = self._fail(self.system.writes, after=True)
        standing = self.system.records.get(write.name)
        if self.capabilities.compare_and_set:
            if standing is not None and standing.fence is not None and standing.fence.newer_than(change.fence):
                raise Conflict(f"{change.route}: {standing.fence.text!r} is newer than {change.fence.text!r}")
            if standing != write.old:
                raise Conflict(f"{change.route}: the record was written since it was read")
        members = dict(standing.members) if standing else {}
        members.update({m.target: m for m in write.members})
        version = standing.version + 1 if standing else 1
        self.system.put(write.name, Record(members, write.ttl_s, change.fence, version))
        if fault is not None:
            raise fault
        return Receipt(change.route, f"version {version}")

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """Read back."""
        observed = await self.read(route, deadline)
        record = self.system.records.get(route.name)
        wrong = [m.target for m in change.desired.members if record is None or not _as(record, m)]
        return Verified(
            in_sync=not wrong, observed=observed, text=f"not as desired: {', '.join(wrong)}" if wrong else ""
        )

    def _fail(self, faults: deque[Fault], *, after: bool) -> ProviderError | None:
        """Raise the next fault, or return it when it is to be raised after the work."""
        if self.system.down:
            raise Unreachable("the system in memory is down")
        if not faults:
            return None
        fault = faults.popleft()
        if fault.after and after:
            return fault.error
        raise fault.error


def _as(record: Record, member: Member) -> bool:
    held = record.members.get(member.target)
    if held is None or held.weight == 0 or member.weight == 0:
        return (held.weight if held else 0) == member.weight
    return (held.weight, held.values) == (member.weight, member.values)


def build(context: Context) -> Provider:
    """A provider on a system of its own: there is nothing to set."""
    del context
    return Memory()
