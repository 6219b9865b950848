"""The store contract: a small ordered key-value map with compare-and-set and leases, shaped so that etcd fits.

Keys are text, values bytes. Every successful transaction gets a revision larger than any before; an entry knows the revision
that created it and the one that last changed it. Reads are linearizable. What a store cannot do in time raises
`StoreUnavailable`: the caller must then assume nothing about whether a write happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

__all__ = ["Compare", "Delete", "Entry", "Op", "Put", "Store", "StoreBusy", "StoreError", "StoreUnavailable", "Txn"]


class StoreError(Exception):
    """The store said no. The text says what a human should do."""


class StoreBusy(StoreError):
    """Another coordinator holds the store's one-writer lock; the text says who."""


class StoreUnavailable(StoreError):
    """No quorum, a full disk or no answer in time. The write may or may not have happened."""


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    lease: int | None = None


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition of a transaction. `create_revision=0` means: must be absent. None leaves a field unchecked."""

    key: str
    create_revision: int | None = None
    mod_revision: int | None = None
    value: bytes | None = None


@dataclass(frozen=True, slots=True)
class Put:
    key: str
    value: bytes
    lease: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    key: str


Op = Put | Delete


@dataclass(frozen=True, slots=True)
class Txn:
    """`ok` tells whether all comparisons held and the operations were done; `revision` is the store's after it."""

    ok: bool
    revision: int


@runtime_checkable
class Store(Protocol):
    """What a coordinator needs of a store. One instance per coordinator process."""

    async def open(self) -> None:
        """Connect or lock. Raises `StoreBusy` (who holds it) or `StoreUnavailable`."""

    async def close(self) -> None:
        """Release; safe to call twice."""

    async def get(self, key: str) -> Entry | None: ...

    async def range(self, prefix: str, *, limit: int = 0, reverse: bool = False, after: str = "") -> list[Entry]:
        """Entries whose key starts with `prefix`, ordered by key; `after` starts behind that key (in the order asked)."""

    async def txn(self, compare: tuple[Compare, ...], then: tuple[Op, ...]) -> Txn:
        """All comparisons hold -> all operations happen, at once and durably; otherwise nothing."""

    async def grant(self, ttl_s: float) -> int:
        """A new lease; keys put with it vanish when it ends."""

    async def renew(self, lease: int) -> float | None:
        """Seconds granted anew, or None when the lease is lost."""

    async def revoke(self, lease: int) -> None:
        """End a lease and delete its keys; unknown leases are ignored."""
