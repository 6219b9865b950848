"""The journal over both stores: what is persisted is found again, and nobody writes under a lead that is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steerd.coordinator.clock import SystemClock
from steerd.coordinator.journal import Journal, Note, Receipt, StaleEpochError
from steerd.model.plan import Decision, HardState
from steerd.model.route import Desired, Member
from steerd.stores.base import Delete, Put, Store, StoreError, StoreUnavailable
from steerd.stores.memory import MemoryData, MemoryStore
from steerd.stores.sqlite import SqliteStore, boottime
from tests.coordinator.rig import VirtualClock
from tests.support.virtual_loop import run_virtual

DESIRED = Desired((Member("a", 1, ("203.0.113.1",)),))


def decision(epoch: int, seq: int, *routes: str) -> Decision:
    return Decision(
        epoch=epoch,
        seq=seq,
        at=1.0,
        service="chat",
        routes=dict.fromkeys(routes or ("dns/a",), DESIRED),
        shares={"e": 1.0},
        config_hash="c",
        plan="p",
        why={"voices": ["x"]},
    )


def state(epoch: int, seq: int) -> HardState:
    return HardState(epoch=epoch, seq=seq, desired={"dns/a": DESIRED})


async def seat(store: Store) -> int:
    """A new leader key; its create revision."""
    lease = await store.grant(3600.0)
    return (await store.txn((), (Put("/acme/leader", b"{}", lease),))).revision


@pytest.fixture(params=["sqlite", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = MemoryStore(MemoryData(boottime))
    if request.param == "sqlite":
        made = SqliteStore(tmp_path / "steerd.db", "one")
    await made.open()
    yield made
    await made.close()


def journal(store: Store, **bounds: Any) -> Journal:
    return Journal(store, "acme", SystemClock(), **bounds)


async def test_a_fresh_store_holds_nothing(store: Store) -> None:
    loaded = await journal(store).lead(await seat(store))
    assert (loaded.state, loaded.open) == (None, ())


async def test_nobody_leads_on_a_stale_read() -> None:
    """What is read is older than the lead, so it may be anything: it is asked for again until it is not."""
    data = MemoryData(boottime)
    store = MemoryStore(data)
    await store.open()
    first = await seat(store)
    old = journal(store)
    await old.lead(first)
    await old.persist([decision(first, 1)], state(first, 1))
    data.fall_behind()
    await old.persist([decision(first, 2)], state(first, 2))
    await store.txn((), (Delete("/acme/leader"),))
    token, new = await seat(store), journal(store)
    with pytest.raises(StoreUnavailable, match="stale"):
        await new.lead(token)
    assert not new.leading
    data.catch_up()
    assert (await new.lead(token)).state == state(first, 2)


async def test_a_decision_without_receipt_is_found_open(store: Store) -> None:
    token = await seat(store)
    one = journal(store)
    await one.lead(token)
    first, second = decision(token, 1, "dns/a", "lb/b"), decision(token, 2, "lb/b")
    await one.persist([first], state(token, 1))
    await one.note([Receipt(first.id, "dns/a", 5.0), Receipt(first.id, "lb/b", 5.0)], [])
    await one.persist([second], state(token, 2))
    assert one.persisted(second.id)
    assert not one.persisted("9.9")
    loaded = await journal(store).lead(token)
    assert loaded.state == state(token, 2)
    assert loaded.open == ((second, ("lb/b",)),)


async def test_a_superseded_decision_is_not_open(store: Store) -> None:
    token = await seat(store)
    one = journal(store)
    await one.lead(token)
    await one.persist([decision(token, 1, "dns/a", "lb/b"), decision(token, 2, "dns/a")], state(token, 2))
    loaded = await journal(store).lead(token)
    assert [(d.id, routes) for d, routes in loaded.open] == [(f"{token}.1", ("lb/b",)), (f"{token}.2", ("dns/a",))]


async def test_a_lost_lead_writes_nothing(store: Store) -> None:
    """A stale leader's decision is refused by the store itself, in the same transaction (invariant 9)."""
    old = journal(store)
    first = await seat(store)
    await old.lead(first)
    await old.persist([decision(first, 1)], state(first, 1))
    await store.revoke((await store.get("/acme/leader")).lease)  # type: ignore[union-attr, arg-type]  # it is there
    second = await seat(store)
    with pytest.raises(StaleEpochError, match="another coordinator leads"):
        await old.persist([decision(first, 2)], state(first, 2))
    with pytest.raises(StaleEpochError):
        await old.note([Receipt(f"{first}.1", "dns/a", 5.0)], [Note("x", "y", "z", 1.0)])
    loaded = await journal(store).lead(second)
    assert loaded.state == state(first, 1)
    assert [d.id for d, _ in loaded.open] == [f"{first}.1"]
    assert await old.history(None, 10) == []


async def test_without_the_lead_nothing_is_written(store: Store) -> None:
    with pytest.raises(StaleEpochError, match="does not lead"):
        await journal(store).persist([decision(1, 1)], state(1, 1))


async def test_epochs_never_decrease(store: Store) -> None:
    token = await seat(store)
    one = journal(store)
    await one.lead(token)
    await one.persist([decision(token + 100, 4)], state(token + 100, 4))
    for stale in (decision(token, 9), decision(token + 100, 3)):
        with pytest.raises(StaleEpochError, match="older than the last one stored"):
            await one.persist([stale], state(token + 100, 5))
    with pytest.raises(StaleEpochError):
        await one.persist([], state(token, 9))
    other = journal(store)
    await other.lead(token)
    with pytest.raises(StaleEpochError):
        await other.persist([decision(token, 9)], state(token, 9))


async def test_the_same_decision_again_is_fine(store: Store) -> None:
    token = await seat(store)
    one = journal(store)
    await one.lead(token)
    await one.persist([decision(token, 1)], state(token, 1))
    await one.persist([decision(token, 2)], state(token, 2))
    await one.persist([decision(token, 1)], replace(state(token, 2), last_change={"x": 1.0}))
    loaded = await journal(store).lead(token)
    assert loaded.state is not None
    assert loaded.state.last_change == {"x": 1.0}
    assert [d.id for d, _ in loaded.open] == [f"{token}.2"]


async def test_history_is_numbered_bounded_and_newest_first(store: Store) -> None:
    token = await seat(store)
    one = journal(store, keep_history=50)
    await one.lead(token)
    for n in range(0, 120, 40):
        await one.note([], [Note("health", f"e{k}", "text", float(k), {"k": k}) for k in range(n, n + 40)])
        await one.tidy(())
    found = await one.history(None, 1000)
    assert [line["of"] for line in found] == [f"e{k}" for k in range(119, 69, -1)]
    assert found[0] == {"kind": "health", "of": "e119", "text": "text", "at": 119.0, "data": {"k": 119}}
    assert [line["at"] for line in await one.history(117.0, 1000)] == [119.0, 118.0, 117.0]
    assert len(await one.history(None, 7)) == 7
    again = journal(store)
    await again.lead(token)
    await again.note([], [Note("config", "f", "later", 200.0)])
    assert [line["at"] for line in await again.history(None, 2)] == [200.0, 119.0]


async def test_a_large_note_keeps_its_text_and_says_what_is_left_out(store: Store) -> None:
    token = await seat(store)
    one = journal(store)
    await one.lead(token)
    await one.note([], [Note("decision", "chat", "short", 1.0, {"big": "x" * 100_000})])
    line = (await one.history(None, 1))[0]
    assert line["text"] == "short"
    assert "bytes" in line["data"]["left_out"]


async def test_old_decisions_go_and_needed_ones_stay(store: Store) -> None:
    token = await seat(store)
    one = journal(store, keep_decisions=3)
    await one.lead(token)
    await one.persist([decision(token, 1, "lb/old")], state(token, 1))
    await one.note([Receipt(f"{token}.1", "lb/old", 1.0)], [])
    for seq in range(2, 12):
        await one.persist([decision(token, seq)], state(token, seq))
        await one.note([Receipt(f"{token}.{seq}", "dns/a", 1.0)] if seq < 11 else [], [])
    await one.tidy({f"{token}.5"})
    left = [e.key.rpartition("/")[2] for e in await store.range("/acme/decisions/")]
    assert [int(key.partition(".")[2]) for key in left] == [1, 5, 9, 10, 11]
    receipts = {e.key.split("/")[3] for e in await store.range("/acme/receipts/")}
    assert receipts <= set(left)
    loaded = await journal(store).lead(token)
    assert [d.seq for d, _ in loaded.open] == [11]


async def test_what_cannot_be_read_says_what_to_do(store: Store) -> None:
    token = await seat(store)
    await store.txn((), (Put("/acme/state", b'{"epoch": "many"}'),))
    with pytest.raises(StoreError, match="newer steerd"):
        await journal(store).lead(token)


def test_after_a_lost_answer_the_same_write_goes_through() -> None:
    """The transaction happened, its answer did not come: persisting again must not be taken for a stale write."""

    async def main() -> None:
        clock = VirtualClock()
        lose = {"n": 0}

        async def hook(operation: str, phase: str) -> None:
            if operation == "txn" and phase == "after" and lose["n"]:
                lose["n"] -= 1
                raise StoreUnavailable("the answer was lost")

        store = MemoryStore(MemoryData(clock.now), hook=hook)
        await store.open()
        token = await seat(store)
        one = Journal(store, "acme", clock)
        await one.lead(token)
        lose["n"] = 1
        with pytest.raises(StoreUnavailable):
            await one.persist([decision(token, 1)], state(token, 1))
        assert not one.persisted(f"{token}.1")
        await one.persist([decision(token, 1)], state(token, 1))
        assert one.persisted(f"{token}.1")
        loaded = await Journal(store, "acme", clock).lead(token)
        assert loaded.state == state(token, 1)

    run_virtual(main())


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from(["new lead", "write", "old lead writes"]), st.integers(0, 3)), max_size=15))
def test_stored_epochs_only_grow(steps: list[tuple[str, int]]) -> None:
    """Whatever leads come and go: epochs in the store never decrease, and only the present leader's writes land."""

    async def main() -> None:
        clock = VirtualClock()
        store = MemoryStore(MemoryData(clock.now))
        await store.open()
        journals: list[tuple[Journal, int]] = []
        seen = (0, 0)
        seq = 0
        for what, which in [("new lead", 0), *steps]:
            if what == "new lead":
                entry = await store.get("/acme/leader")
                if entry is not None and entry.lease is not None:
                    await store.revoke(entry.lease)
                token = await seat(store)
                journals.append((Journal(store, "acme", clock), token))
                await journals[-1][0].lead(token)
                continue
            one, epoch = journals[-1] if what == "write" else journals[which % len(journals)]
            seq += 1
            try:
                await one.persist([decision(epoch, seq)], state(epoch, seq))
            except StaleEpochError:
                assert one is not journals[-1][0]
            else:
                assert one is journals[-1][0]
                assert (epoch, seq) > seen
                seen = (epoch, seq)
        keys = [e.key.rpartition("/")[2] for e in await store.range("/acme/decisions/")]
        assert keys == sorted(keys)

    run_virtual(main())
