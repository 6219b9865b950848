"""The store as a cluster would behave: away without quorum, slow, cut off, and generous with leases after an election."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from steerd.sim.network import Network
from steerd.stores.base import Compare, Op, StoreUnavailable, Txn
from steerd.stores.memory import Hook, MemoryData, MemoryStore

__all__ = ["SimData", "SimStore", "Weather"]

_CALL_S = 0.002
_HANG_S = 7.0
"""How long a call without quorum hangs before it is refused (etcd 3.4.23, ha.md)."""
_ELECTION_S = 1.5


class SimData(MemoryData):
    """What the cluster holds. Leases do not run out while it has no leader, and start anew when it has one again."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.leaderless = 0

    def expire(self) -> None:
        """Drop what has run out, unless nobody is there to do it."""
        if not self.leaderless:
            super().expire()

    def lose_leader(self) -> None:
        """No quorum, or an election."""
        self.leaderless += 1

    def elect(self) -> None:
        """A leader again: it does not know how long leases had run, and gives them their whole time."""
        self.leaderless -= 1
        if not self.leaderless:
            for lease in self.leases.values():
                lease.expires = self.now() + lease.ttl_s


class Weather:
    """What is wrong with the cluster now, for every client alike. `slow_s` delays each call."""

    def __init__(self, data: SimData, network: Network, rng: Random) -> None:
        self.data = data
        self.network = network
        self.rng = rng
        self.slow_s = 0.0

    def hook(self, client: str, alive: Callable[[], bool]) -> Hook:
        """The hook of `client`'s store; `alive` is False once its process is gone."""

        async def hook(operation: str, phase: str) -> None:
            if not alive():
                raise StoreUnavailable("this process is gone")
            if phase == "after":
                await self._answer(client)
                return
            way = self.network.path(client, "store")
            await asyncio.sleep(_CALL_S + self.slow_s + way.latency_s)
            if not alive():
                raise StoreUnavailable("this process is gone")
            stale = self.data.behind and operation in ("get", "range")  # these ask no quorum
            if self.data.leaderless and operation != "open" and not stale:
                await asyncio.sleep(_HANG_S)
                if self.data.leaderless:
                    raise StoreUnavailable("the cluster has no leader")
            if way.cut or self._lost(way.loss):
                await asyncio.sleep(_HANG_S)
                raise StoreUnavailable("no answer from the cluster")

        return hook

    async def _answer(self, client: str) -> None:
        back = self.network.path("store", client)
        if back.cut or self._lost(back.loss):
            await asyncio.sleep(_HANG_S)
            raise StoreUnavailable("the cluster's answer got lost")
        if back.latency_s > _CALL_S:
            await asyncio.sleep(back.latency_s)

    def _lost(self, loss: float) -> bool:
        return loss > 0.0 and self.rng.random() < loss

    @property
    def election_s(self) -> float:
        """Seconds without a leader when the cluster's leader is lost and the others elect another."""
        return _ELECTION_S


class SimStore(MemoryStore):
    """A client's view; `told` sees each transaction that succeeded."""

    def __init__(self, data: SimData, hook: Hook, told: Callable[[tuple[Compare, ...], tuple[Op, ...]], None]) -> None:
        super().__init__(data, hook=hook)
        self._told = told

    def _txn(self, compare: tuple[Compare, ...], then: tuple[Op, ...]) -> Txn:
        done = super()._txn(compare, then)
        if done.ok:
            self._told(compare, then)
        return done
