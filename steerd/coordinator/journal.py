"""The journal: decisions with their why, the hard state, receipts and history, over the store contract.

Keys, all under `/{fleet}/`:
    leader                                who leads; its create revision fences every write below (leadership.py)
    state, state/00 ...                   the hard state (hardstate.py)
    decisions/{epoch:016}.{seq:016}       one persisted decision
    receipts/{epoch:016}.{seq:016}/{route}  a provider took it; again when every authoritative place serves it
    history/{n:016}                       what happened, numbered
    executed/{route}                      what became of a route that another coordinator carries out (deputy.py)

Every write compares the leader key's create revision in the same transaction, so that nothing an earlier leader still
sends can land after it lost the lead.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from steerd.coordinator import hardstate
from steerd.coordinator.clock import Clock
from steerd.coordinator.observer import CoordinatorObserver, NullObserver
from steerd.coordinator.retention import Kept, removable
from steerd.coordinator.storecall import StoreCall
from steerd.model.plan import Decision, HardState
from steerd.stores.base import Compare, Delete, Op, Put, Store, StoreError, StoreUnavailable

__all__ = ["Journal", "Loaded", "Note", "Receipt", "StaleEpochError"]

PAGE = 200
TXN_OPS = 64
LOAD_WITHIN_S = 30.0
NOTE_BYTES = 65_536
"""A history entry beyond this loses its data, and says so."""

_JSON = msgspec.json.Encoder(enc_hook=hardstate.plain)


class StaleEpochError(StoreError):
    """Another coordinator leads by now, or a newer decision is stored: this write did not happen and must not."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A provider accepted a decision for one route. Times are steady seconds since the Unix epoch."""

    decision: str
    route: str
    accepted_at: float
    authoritative_at: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """One line of history."""

    kind: str
    of: str
    text: str
    at: float
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a new leader finds: the hard state, and the decisions without a receipt for the named routes."""

    state: HardState | None
    open: tuple[tuple[Decision, tuple[str, ...]], ...] = ()


class _Head(msgspec.Struct):
    """The part of a stored decision that retention needs."""

    epoch: int
    seq: int
    routes: dict[str, msgspec.Raw]


class Journal:
    """One coordinator's view of `/{fleet}/...`. Only a leader writes: `lead` first, `follow` when it lost."""

    def __init__(
        self,
        store: Store,
        fleet: str,
        clock: Clock,
        *,
        observer: CoordinatorObserver | None = None,
        keep_decisions: int = 500,
        keep_bytes: int = 32 * 1024 * 1024,
        keep_history: int = 10_000,
    ) -> None:
        self._store = store
        self._root = f"/{fleet}/"
        self._call = StoreCall(clock, observer or NullObserver())
        self._keep_decisions = keep_decisions
        self._keep_bytes = keep_bytes
        self._keep_history = keep_history
        self._token: int | None = None
        self._last = (0, 0)
        self._stored: dict[str, bytes] = {}
        self._kept: dict[str, Kept] = {}
        self._next_note = 1
        self.decided: HardState | None = None
        """The newest hard state that this process has seen in the store; it stays when the store or the lead is lost."""

    @property
    def leading(self) -> bool:
        """True between `lead` and `follow`."""
        return self._token is not None

    def follow(self) -> None:
        """Writes are refused from here on."""
        self._token = None

    def persisted(self, decision: str) -> bool:
        """True when the decision with this id is in the store: only then may it be applied."""
        return decision in self._kept

    async def lead(self, token: int) -> Loaded:
        """Start to write under the leader key created at revision `token`; what is there. Raises `StoreError`."""
        try:
            loaded = await self._call("load", self._load(token), LOAD_WITHIN_S)
        except msgspec.MsgspecError as error:
            raise StoreError(
                f"what the store holds under {self._root} cannot be read ({error}): was it written by a newer steerd? "
                "Then run that one. Otherwise move those keys away: weights stay, drains and pins must be set anew"
            ) from error
        self._token = token
        self.decided = loaded.state or self.decided
        return loaded

    async def persist(self, decisions: Sequence[Decision], state: HardState) -> None:
        """Store all of it at once; a decision that is stored already is left as it is.

        Raises `StaleEpochError`, or `StoreUnavailable`: it may then have happened; doing it again is safe.
        """
        new = [d for d in decisions if d.id not in self._kept]
        marks = [(d.epoch, d.seq) for d in new]
        if min(marks, default=self._last) < self._last or state.epoch < self._last[0]:
            oldest = min([*marks, (state.epoch, state.seq)])
            raise StaleEpochError(f"{_dotted(oldest)} is older than the last one stored, {_dotted(self._last)}")
        encoded = {d.id: _JSON.encode(d) for d in new}
        changed = {k: v for k, v in hardstate.split(state).items() if self._stored.get(k) != v}
        ops: list[Op] = [Put(f"{self._root}decisions/{_padded(i)}", value) for i, value in encoded.items()]
        ops += [Put(f"{self._root}state{suffix}", value) for suffix, value in changed.items()]
        for suffix in changed:
            self._stored.pop(suffix, None)  # unknown until the answer is here
        await self._call("persist", self._write(tuple(ops)))
        self._stored.update(changed)
        self.decided = state
        self._last = max([*marks, (state.epoch, state.seq), self._last])
        for d in new:
            self._kept[d.id] = Kept(d.id, frozenset(d.routes), frozenset(), len(encoded[d.id]))

    async def note(self, receipts: Collection[Receipt], notes: Collection[Note]) -> None:
        """Store receipts and history lines together, at most `TXN_OPS` of them. Errors as `persist`."""
        known = [r for r in receipts if r.decision in self._kept]
        ops = [Put(self._receipt_key(r), _JSON.encode(r)) for r in known]
        ops += [
            Put(f"{self._root}history/{n:016}", _note_json(note)) for n, note in enumerate(notes, start=self._next_note)
        ]
        if not ops:
            return
        await self._call("note", self._write(tuple(ops)))
        self._next_note += len(notes)
        for receipt in known:
            kept = self._kept[receipt.decision]
            self._kept[kept.id] = Kept(kept.id, kept.routes, kept.receipts | {receipt.route}, kept.size)

    async def tidy(self, in_flight: Collection[str]) -> int:
        """Forget old decisions and history; what is needed stays (retention.py). Returns how many keys went."""
        gone = removable(tuple(self._kept.values()), in_flight, self._keep_decisions, self._keep_bytes)
        keys = [key for i in gone for key in self._decision_keys(i)]
        oldest = self._next_note - self._keep_history
        old = await self._call("tidy", self._store.range(f"{self._root}history/", limit=TXN_OPS))
        keys += [e.key for e in old if int(e.key.rpartition("/")[2]) < oldest]
        for at in range(0, len(keys), TXN_OPS):
            await self._call("tidy", self._write(tuple(Delete(k) for k in keys[at : at + TXN_OPS])))
        for i in gone:
            del self._kept[i]
        return len(keys)

    async def history(self, since: float | None, limit: int) -> list[dict[str, Any]]:
        """Up to `limit` lines of history that are no older than `since`, newest first."""
        found: list[dict[str, Any]] = []
        after = ""
        while len(found) < limit:
            page = await self._call(
                "history",
                self._store.range(
                    f"{self._root}history/", limit=min(PAGE, limit - len(found)), reverse=True, after=after
                ),
            )
            for entry in page:
                line = msgspec.json.decode(entry.value, type=dict[str, Any])
                if since is not None and line["at"] < since:
                    return found
                found.append(line)
            if not page:
                break
            after = page[-1].key
        return found

    async def state_mark(self) -> int | None:
        """A number that changes with the head of the stored state; None when there is none. Raises `StoreError`."""
        head = await self._call("follow", self._store.get(f"{self._root}state"))
        return head.mod_revision if head is not None else None

    async def read_state(self) -> HardState | None:
        """The stored hard state, for whoever does not lead. Raises `StoreError` or `msgspec.MsgspecError`."""
        cut = len(self._root) + len("state")
        stored = {e.key[cut:]: e.value for e in await self._call("follow", self._pages(f"{self._root}state"))}
        state = hardstate.join(stored)
        self.decided = state or self.decided
        return state

    async def leader_token(self) -> int | None:
        """The leader key's create revision, whoever leads; None when nobody does. Raises `StoreError`."""
        entry = await self._call("deputy", self._store.get(f"{self._root}leader"), 2.0)
        return entry.create_revision if entry is not None else None

    async def decisions_after(self, after: str) -> tuple[str, list[Decision]]:
        """Decisions stored behind the key `after` ("" for all), oldest first, and the key to go on from. Raises `StoreError`."""
        found: list[Decision] = []
        prefix = f"{self._root}decisions/"
        while page := await self._call("deputy", self._store.range(prefix, limit=PAGE, after=after)):
            found += [msgspec.json.decode(entry.value, type=Decision) for entry in page]
            after = page[-1].key
        return after, found

    async def report(self, token: int, route: str, value: bytes) -> bool:
        """Store what became of a route for the leader of `token`; False when it leads no more. Raises `StoreError`."""
        fence = Compare(f"{self._root}leader", create_revision=token)
        put = Put(f"{self._root}executed/{route}", value)
        return (await self._call("deputy", self._store.txn((fence,), (put,)))).ok

    async def reports(self) -> dict[str, bytes]:
        """Route -> what another coordinator last reported of it. Raises `StoreError`."""
        cut = len(self._root) + len("executed/")
        return {e.key[cut:]: e.value for e in await self._call("deputy", self._pages(f"{self._root}executed/"))}

    async def _write(self, ops: tuple[Op, ...]) -> None:
        if self._token is None:
            raise StaleEpochError("this coordinator does not lead: nothing was written")
        fence = Compare(f"{self._root}leader", create_revision=self._token)
        if not (await self._store.txn((fence,), ops)).ok:
            raise StaleEpochError("another coordinator leads by now: nothing was written")

    async def _load(self, token: int) -> Loaded:
        seat = await self._store.get(f"{self._root}leader")
        if seat is None or seat.create_revision != token:
            # Only a leader writes: whoever reads the key that it leads by reads all there is. Never decide on anything older.
            raise StoreUnavailable("the store shows a state from before this coordinator led: its reads are stale")
        stored = {e.key: e.value for e in await self._pages(f"{self._root}state")}
        cut = len(self._root) + len("state")
        self._stored = {key[cut:]: value for key, value in stored.items()}
        state = hardstate.join(self._stored)
        receipts: dict[str, set[str]] = {}
        for entry in await self._pages(f"{self._root}receipts/"):
            decision, _, route = entry.key[len(self._root) + len("receipts/") :].partition("/")
            receipts.setdefault(decision, set()).add(route)
        self._kept = {}
        values: dict[str, bytes] = {}
        self._last = (0, 0)
        for entry in await self._pages(f"{self._root}decisions/"):
            head = msgspec.json.decode(entry.value, type=_Head)
            name = _dotted((head.epoch, head.seq))
            done = receipts.get(_padded(name), set())
            self._kept[name] = Kept(name, frozenset(head.routes), frozenset(done), len(entry.value))
            values[name] = entry.value
            self._last = max(self._last, (head.epoch, head.seq))
        if state is not None:
            self._last = max(self._last, (state.epoch, state.seq))
        newest = await self._store.range(f"{self._root}history/", limit=1, reverse=True)
        self._next_note = int(newest[0].key.rpartition("/")[2]) + 1 if newest else 1
        return Loaded(state, self._open(values))

    def _open(self, values: dict[str, bytes]) -> tuple[tuple[Decision, tuple[str, ...]], ...]:
        """The newest decision of each route, where it has no receipt; oldest decision first."""
        seen: set[str] = set()
        found: list[tuple[Decision, tuple[str, ...]]] = []
        for kept in reversed(self._kept.values()):
            waiting = kept.routes - seen - kept.receipts
            seen |= kept.routes
            if waiting:
                found.append((msgspec.json.decode(values[kept.id], type=Decision), tuple(sorted(waiting))))
        return tuple(reversed(found))

    async def _pages(self, prefix: str) -> list[Any]:
        entries: list[Any] = []
        while page := await self._store.range(prefix, limit=PAGE, after=entries[-1].key if entries else ""):
            entries += page
        return entries

    def _receipt_key(self, receipt: Receipt) -> str:
        return f"{self._root}receipts/{_padded(receipt.decision)}/{receipt.route}"

    def _decision_keys(self, decision: str) -> list[str]:
        """Receipts first: cut short, this leaves an old decision behind that the next round finds, and no orphans."""
        padded = _padded(decision)
        receipts = (f"{self._root}receipts/{padded}/{route}" for route in sorted(self._kept[decision].receipts))
        return [*receipts, f"{self._root}decisions/{padded}"]


def _padded(decision: str) -> str:
    """The id "epoch.seq" so that text order is number order."""
    epoch, _, seq = decision.partition(".")
    return f"{int(epoch):016}.{int(seq):016}"


def _dotted(mark: tuple[int, int]) -> str:
    return f"{mark[0]}.{mark[1]}"


def _note_json(note: Note) -> bytes:
    encoded = _JSON.encode(note)
    if len(encoded) <= NOTE_BYTES:
        return encoded
    return _JSON.encode(Note(note.kind, note.of, note.text[:1000], note.at, {"left_out": f"{len(encoded)} bytes"}))
