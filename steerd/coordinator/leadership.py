"""Leadership by plain transactions (ha.md): a leader key bound to a lease, renewed in time or given up in time.

    absent key --create, bound to a lease of 15 s--> leading --renewed every 5 s--> leading
                                                  |--10 s without renewal, by its *send* time, or lease lost--> not

The key's create revision is the token that fences every write of the journal. Calls to providers end within the 10 s,
the lease only after 15 s: so whoever finds the key absent cannot overlap with the old leader's calls.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from steerd.coordinator.clock import Clock
from steerd.coordinator.observer import CoordinatorObserver, NullObserver
from steerd.coordinator.storecall import StoreCall
from steerd.stores.base import Compare, Entry, Put, Store, StoreUnavailable

__all__ = ["Leadership", "LeaseRules"]


@dataclass(frozen=True, slots=True)
class LeaseRules:
    """Seconds. `act_for_s` + a provider call's deadline must not exceed `lease_s`."""

    lease_s: float = 15.0
    renew_every_s: float = 5.0
    act_for_s: float = 10.0
    retry_s: float = 1.0
    call_s: float = 2.0


class _Seat(msgspec.Struct):
    """The leader key's value."""

    name: str
    since: float


class Leadership:
    """Stands for the lead and holds it. `changed` is called, in the loop, after each change of `token` or `holder`."""

    def __init__(
        self,
        store: Store,
        fleet: str,
        name: str,
        clock: Clock,
        changed: Callable[[], None],
        *,
        observer: CoordinatorObserver | None = None,
        rules: LeaseRules | None = None,
    ) -> None:
        self.rules = rules or LeaseRules()
        self.token: int | None = None
        """The leader key's create revision while leading."""
        self.holder: str | None = None
        """Who leads, as last seen in the store."""
        self.problem: str | None = None
        """Why the store could not be asked, until it can be again."""
        self._store = store
        self._key = f"/{fleet}/leader"
        self.name = name
        self._clock = clock
        self._changed = changed
        self._call = StoreCall(clock, observer or NullObserver())
        self._lease: int | None = None
        self._until = 0.0
        self._stand_at = 0.0

    def lease_remaining(self, now: float) -> float:
        """Seconds for which this coordinator may still act; 0 when it does not lead."""
        return max(0.0, self._until - now) if self.token is not None else 0.0

    def follows(self) -> tuple[bool, str]:
        """While not leading: whether another is known to, and in words who, or why nobody is known."""
        if self.problem is not None:
            return False, self.problem
        if self.holder is None or self.holder == self.name:
            return False, "nobody leads yet"
        return True, f"{self.holder} leads"

    async def run(self) -> None:
        """Campaign, hold, campaign again, until cancelled."""
        while True:
            try:
                won = await self._campaign()
                self.problem = None
            except StoreUnavailable as error:
                won = False
                self.problem = str(error)
            if won:
                await self._hold()
            else:
                await self._clock.sleep(self.rules.retry_s)

    def stand_at(self, now: float) -> None:
        """Stand for the lead from `now` on, however long it was to wait."""
        self._stand_at = now

    async def resign(
        self, stand_again_after_s: float = 0.0, settled: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        """Stop acting now and free the key, so that another can lead at once. `settled` is waited for in between: calls
        under way, which must not overlap with those of whoever leads next."""
        self._stand_at = self._clock.now() + stand_again_after_s
        lease, self._lease = self._lease, None
        self._lose()
        if settled is not None:
            await settled()
        if lease is not None:
            await self._call("resign", self._store.revoke(lease), self.rules.call_s)
            self._see(None)

    def stand_down(self) -> None:
        """The store refused a write because another leads: stop acting; the next round finds out who."""
        self._lose()

    async def confirm(self) -> bool:
        """Ask the store whether the key is still ours (a linearizable read)."""
        entry = await self._call("confirm", self._store.get(self._key), self.rules.call_s)
        return entry is not None and entry.create_revision == self.token

    async def _campaign(self) -> bool:
        entry = await self._call("campaign", self._store.get(self._key), self.rules.call_s)
        if entry is not None:
            self._see(_who(entry))
            # Ours when an earlier answer got lost, or when the store came back before the lease ran out.
            return entry.lease is not None and entry.lease == self._lease and await self._resume(entry)
        self._see(None)
        if self._clock.now() < self._stand_at:
            return False
        sent = self._clock.now()
        self._lease = await self._call("campaign", self._store.grant(self.rules.lease_s), self.rules.call_s)
        seat = msgspec.json.encode(_Seat(self.name, sent))
        done = await self._call(
            "campaign",
            self._store.txn((Compare(self._key, create_revision=0),), (Put(self._key, seat, self._lease),)),
            self.rules.call_s,
        )
        if not done.ok:
            await self._call("campaign", self._store.revoke(self._lease), self.rules.call_s)
            self._lease = None
            return False
        return self._win(done.revision, sent)

    async def _resume(self, entry: Entry) -> bool:
        assert self._lease is not None
        sent = self._clock.now()
        granted = await self._call("renew", self._store.renew(self._lease), self.rules.call_s)
        return granted is not None and self._win(entry.create_revision, sent)

    def _win(self, token: int, sent: float) -> bool:
        if self._clock.now() >= sent + self.rules.act_for_s:
            return False  # the answer came too late to act on; the next round resumes the lease
        self.token, self.holder = token, self.name
        self._until = sent + self.rules.act_for_s
        self._changed()
        return True

    def _see(self, holder: str | None) -> None:
        if holder != self.holder:
            self.holder = holder
            self._changed()

    def _leads(self) -> bool:
        return self.token is not None

    def _lose(self) -> None:
        if self.token is not None:
            self.token = None
            self._changed()

    async def _hold(self) -> None:
        """Renew until it is lost or resigned."""
        renew_at = self._until - self.rules.act_for_s + self.rules.renew_every_s
        while self._leads():
            await self._clock.sleep(min(renew_at, self._until) - self._clock.now())
            sent = self._clock.now()
            if not self._leads() or self._lease is None:
                return
            if sent >= self._until:
                break
            try:
                granted = await self._call(
                    "renew", self._store.renew(self._lease), min(self.rules.call_s, self._until - sent)
                )
            except StoreUnavailable as error:
                self.problem = str(error)
                renew_at = self._clock.now() + self.rules.retry_s
                continue
            self.problem = None
            if granted is None:
                break
            if self._leads():
                self._until = sent + min(self.rules.act_for_s, granted * self.rules.act_for_s / self.rules.lease_s)
            renew_at = sent + self.rules.renew_every_s
        self._lose()


def _who(entry: Entry) -> str:
    try:
        return msgspec.json.decode(entry.value, type=_Seat).name
    except msgspec.MsgspecError:
        return entry.value.decode("utf-8", "replace")[:100]
