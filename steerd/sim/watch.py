"""Asks the invariants: what providers, the store and the leading engine do comes by here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from steerd.core.effects import Effect, Persist
from steerd.core.effects import Record as Note
from steerd.core.events import ConfigLoaded, Event, LeadershipChanged, OperatorCommand
from steerd.core.world import World
from steerd.model.fleet import Fleet
from steerd.providers.memory import Record
from steerd.sim import invariants as rules
from steerd.sim.provider import Far
from steerd.sim.store import SimData
from steerd.stores.base import Compare, Delete, Op, Put

__all__ = ["Watch"]


class Watch:
    """`troubled(endpoint)` names the vantage zones that had cause to see it fail of late; `now` is seconds since the start."""

    def __init__(
        self, fleet: Fleet, data: SimData, now: Callable[[], float], troubled: Callable[[str], set[str]]
    ) -> None:
        self.ledger = rules.Ledger(fleet)
        self._root = f"/{fleet.name}/"
        self._data, self._now, self._troubled = data, now, troubled
        self._local = {p.name for p in fleet.providers if p.region is not None}

    def wrote(self, far: Far, name: str, before: Record | None, after: Record) -> None:
        """A provider took a write."""
        at = self._now()
        rules.non_empty(self.ledger, name, after, at)
        rules.fence_never_goes_back(self.ledger, far, name, before, after, at)
        rules.writes_change_something(self.ledger, name, before, after, at)

    def calling(self, client: str, far: Far, seconds: float) -> None:
        """A provider is called. One with a region is called by that region's coordinator, whoever leads."""
        if far.name in self._local:
            return
        holder, lease_s = self.lead()
        rules.lease_outlives_call(self.ledger, client, holder, lease_s, seconds, self._now())

    def lead(self) -> tuple[str, float]:
        """Who holds the lead by the store's own truth, and for how many seconds yet."""
        entry = self._data.entries.get(f"{self._root}leader")
        if entry is None or entry.lease is None:
            return "", 0.0
        lease = self._data.leases.get(entry.lease)
        left_s = lease.expires - self._data.now() if lease is not None else 0.0
        if left_s <= 0.0 and not self._data.leaderless:
            return "", 0.0
        if self._data.leaderless and lease is not None:
            left_s = max(left_s, lease.ttl_s)  # nothing runs out before the next election, and then anew
        return str(msgspec.json.decode(entry.value).get("name", "")), left_s

    def stored(self, compare: tuple[Compare, ...], then: tuple[Op, ...]) -> None:
        """A transaction was done."""
        del compare
        at = self._now()
        for op in then:
            kind, _, rest = op.key.removeprefix(self._root).partition("/")
            if isinstance(op, Put) and kind == "decisions":
                stored = msgspec.json.decode(op.value)
                rules.epochs_never_decrease(self.ledger, stored["epoch"], stored["seq"], at)
                rules.decisions_explain_themselves(self.ledger, stored, at)
                for route in stored["routes"]:
                    self.ledger.desired_by[route] = rest
            elif isinstance(op, Put) and kind == "receipts":
                decision, _, route = rest.partition("/")
                self.ledger.applied_by[route] = max(self.ledger.applied_by.get(route, ""), decision)
            elif isinstance(op, Delete) and kind == "decisions":
                rules.cleanup_spares_what_is_needed(self.ledger, rest, at)

    def stepped(self, world: World, event: Event, effects: Iterable[Effect], now: float) -> None:
        """The leading engine took a step. Nothing is asked of a step that said nothing, but for pins."""
        at = self._now()
        if isinstance(event, OperatorCommand):
            self.ledger.operated_at = at
        if world.pins and world.leading:  # who follows knows what the store said last, and ends nothing
            rules.pins_win_and_expire(self.ledger, world, now, at)
        if isinstance(event, ConfigLoaded | LeadershipChanged):
            self._penalties(world, world.damper.penalties, at)  # others, or other bounds
        effects = tuple(effects)
        if not effects:
            return
        named: dict[str, None] = {}
        for effect in effects:
            if isinstance(effect, Note):
                named[effect.of] = None
                if effect.kind == "health":
                    self._health(world, effect.of, now, at)
                elif effect.kind == "operator":
                    self.ledger.operated_at = at
            elif isinstance(effect, Persist):
                self._persisting(world, effect, at)
        book = world.drains.book
        if book.keys() != self.ledger.drains:
            keys = frozenset(book)
            rules.guards_hold(self.ledger, world, [book[k] for k in keys - self.ledger.drains], at)
            self.ledger.drains = keys
        for region in world.fleet.regions:
            if region.name in named:
                named.update(dict.fromkeys(region.zones))
        self._penalties(world, named, at)  # nobody is penalised without a word on it, or on the region it is in

    def _penalties(self, world: World, names: Iterable[str], at: float) -> None:
        known = world.damper.penalties
        found = {name: known[name].value for name in names if name in known}
        rules.penalties_stay_in_bounds(self.ledger, found, world.fleet.damping.max, at)

    def _health(self, world: World, endpoint: str, now: float, at: float) -> None:
        state = world.board.states.get(endpoint)
        if state is None:
            return
        rules.undecided_changes_nothing(self.ledger, state, at)
        rules.minority_is_impotent(self.ledger, world, state, self._troubled(endpoint), at)
        rules.votes_are_counted_once_and_fresh(self.ledger, world, state, now, at)
        rules.order_of_votes_does_not_matter(self.ledger, world, state, now, at)

    def _persisting(self, world: World, persist: Persist, at: float) -> None:
        decision = persist.decision
        if decision is None or decision.service not in world.services:
            return
        rules.receivers_stay_within_limits(self.ledger, world, decision, at)
        rules.velocity_and_floor_hold(self.ledger, world, decision, at)
        rules.nothing_moves_when_frozen(self.ledger, world, decision, at)
        self.ledger.shares[decision.service] = dict(decision.shares)

    def took_over(self, world: World) -> None:
        """Another engine leads: what it takes over is where it goes on from."""
        self.ledger.drains = frozenset(world.drains.book)

    def end(self, world: World, quiet_s: float) -> None:
        """The rehearsal is over; `quiet_s` seconds passed since the last fault ended."""
        self._penalties(world, world.damper.penalties, self._now())
        rules.routes_converge(self.ledger, world, quiet_s, self._now())
        rules.healthy_domains_return(self.ledger, world, quiet_s, self._now())

    @property
    def violations(self) -> list[dict[str, Any]]:
        """All that was found, ready for JSON."""
        return [v.data for v in self.ledger.violations]
