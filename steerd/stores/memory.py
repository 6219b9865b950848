"""The store in memory: the twin of the others for tests and simulation. Several stores may share one `MemoryData`.

It keeps the same contract (`tests/stores/test_contract.py` runs over both) and loses everything with the process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from steerd.stores.base import Compare, Delete, Entry, Op, StoreError, StoreUnavailable, Txn

__all__ = ["Hook", "MemoryData", "MemoryStore"]

Hook = Callable[[str, str], Awaitable[None]]
"""`hook(operation, phase)`, phase "before" or "after" (the write has happened): may wait or raise StoreUnavailable."""


@dataclass(slots=True)
class _Lease:
    ttl_s: float
    expires: float


class MemoryData:
    """What a store holds: shared by the `MemoryStore` of each coordinator of one fleet. `now` gives seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.entries: dict[str, Entry] = {}
        self.leases: dict[int, _Lease] = {}
        self.revision = 1
        self._behind = 0
        self._old: dict[str, Entry] = {}
        self._next_lease = 1

    def expire(self) -> None:
        """Drop the leases that have run out, and their keys."""
        now = self.now()
        self.drop([i for i, lease in self.leases.items() if lease.expires <= now])

    @property
    def behind(self) -> bool:
        """Whether reads are stale now."""
        return self._behind > 0

    @property
    def readable(self) -> dict[str, Entry]:
        """What a read finds."""
        return self._old if self._behind else self.entries

    def fall_behind(self) -> None:
        """From now on reads find what is held now, whatever is written: as etcd's serializable reads on a member that is cut off
        from the others. Counted: as many `catch_up` end it."""
        if not self._behind:
            self._old = dict(self.entries)
        self._behind += 1

    def catch_up(self) -> None:
        """Reads are linearizable again, as the contract says."""
        self._behind -= 1
        if not self._behind:
            self._old = {}

    def drop(self, ended: list[int]) -> None:
        """End these leases and delete their keys."""
        for lease in ended:
            self.leases.pop(lease, None)
            gone = [k for k, e in self.entries.items() if e.lease == lease]
            for key in gone:
                del self.entries[key]
            self.revision += bool(gone)

    def grant(self, ttl_s: float) -> int:
        """A new lease; ids are never used again."""
        lease, self._next_lease = self._next_lease, self._next_lease + 1
        self.leases[lease] = _Lease(ttl_s, self.now() + ttl_s)
        return lease


class MemoryStore:
    """`steerd.stores.base.Store` over a `MemoryData`."""

    def __init__(self, data: MemoryData, *, hook: Hook | None = None) -> None:
        self.data = data
        self.hook = hook
        self._opened = False

    async def open(self) -> None:
        await self._phase("open", "before")
        self._opened = True

    async def close(self) -> None:
        self._opened = False

    async def get(self, key: str) -> Entry | None:
        await self._start("get")
        found = self.data.readable.get(key)
        await self._phase("get", "after")
        return found

    async def range(self, prefix: str, *, limit: int = 0, reverse: bool = False, after: str = "") -> list[Entry]:
        await self._start("range")
        entries = self.data.readable
        keys = sorted((k for k in entries if k.startswith(prefix)), reverse=reverse)
        if after:
            keys = [k for k in keys if (k < after if reverse else k > after)]
        found = [entries[k] for k in (keys[:limit] if limit > 0 else keys)]
        await self._phase("range", "after")
        return found

    async def txn(self, compare: tuple[Compare, ...], then: tuple[Op, ...]) -> Txn:
        keys = [op.key for op in then]
        if len(set(keys)) != len(keys):
            raise StoreError("a transaction may touch a key only once")
        await self._start("txn")
        done = self._txn(compare, then)
        await self._phase("txn", "after")
        return done

    async def grant(self, ttl_s: float) -> int:
        await self._start("grant")
        lease = self.data.grant(ttl_s)
        await self._phase("grant", "after")
        return lease

    async def renew(self, lease: int) -> float | None:
        await self._start("renew")
        held = self.data.leases.get(lease)
        if held is not None:
            held.expires = self.data.now() + held.ttl_s
        await self._phase("renew", "after")
        return held.ttl_s if held else None

    async def revoke(self, lease: int) -> None:
        await self._start("revoke")
        self.data.drop([lease])
        await self._phase("revoke", "after")

    async def _start(self, operation: str) -> None:
        await self._phase(operation, "before")
        if not self._opened:
            raise StoreUnavailable("the store is not open")
        self.data.expire()

    async def _phase(self, operation: str, phase: str) -> None:
        if self.hook is not None:
            await self.hook(operation, phase)

    def _txn(self, compare: tuple[Compare, ...], then: tuple[Op, ...]) -> Txn:
        data = self.data
        if not all(_holds(c, data.entries.get(c.key)) for c in compare):
            return Txn(ok=False, revision=data.revision)
        for op in then:
            if not isinstance(op, Delete) and op.lease is not None and op.lease not in data.leases:
                raise StoreError(f"lease {op.lease} has ended")
        if then:
            data.revision += 1
        for op in then:
            old = data.entries.get(op.key)
            if isinstance(op, Delete):
                data.entries.pop(op.key, None)
            elif old is not None:
                data.entries[op.key] = replace(old, value=op.value, mod_revision=data.revision, lease=op.lease)
            else:
                data.entries[op.key] = Entry(op.key, op.value, data.revision, data.revision, op.lease)
        return Txn(ok=True, revision=data.revision)


def _holds(compare: Compare, entry: Entry | None) -> bool:
    created, modified = (entry.create_revision, entry.mod_revision) if entry else (0, 0)
    return (
        (compare.create_revision is None or compare.create_revision == created)
        and (compare.mod_revision is None or compare.mod_revision == modified)
        and (compare.value is None or (entry is not None and entry.value == compare.value))
    )
