"""The store contract, on every store. A further store joins by one line in `MAKERS` and passes the same tests."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steerd.stores.base import Compare, Delete, Op, Put, Store, StoreError, StoreUnavailable
from steerd.stores.memory import MemoryData, MemoryStore
from steerd.stores.sqlite import SqliteStore


@dataclass
class Hand:
    """A clock that tests move."""

    at: float = 1000.0

    def __call__(self) -> float:
        return self.at


def sqlite(folder: Path, clock: Hand) -> Store:
    return SqliteStore(folder / "s" / "steerd.db", "one", now=clock)


def memory(_folder: Path, clock: Hand) -> Store:
    return MemoryStore(MemoryData(clock))


MAKERS: dict[str, Callable[[Path, Hand], Store]] = {"sqlite": sqlite, "memory": memory}


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture(params=MAKERS)
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Hand) -> AsyncIterator[Store]:
    made = MAKERS[request.param](tmp_path, clock)
    assert isinstance(made, Store)
    await made.open()
    yield made
    await made.close()


async def put(store: Store, *pairs: tuple[str, bytes], lease: int | None = None) -> int:
    done = await store.txn((), tuple(Put(k, v, lease) for k, v in pairs))
    assert done.ok
    return done.revision


async def test_absent_key_is_none(store: Store) -> None:
    assert await store.get("/a") is None
    assert await store.range("/") == []


async def test_put_then_get_knows_its_revisions(store: Store) -> None:
    first = await put(store, ("/a", b"1"), ("/b", b"\x00\xff"))
    second = await put(store, ("/a", b"2"))
    assert second > first
    a, b = await store.get("/a"), await store.get("/b")
    assert a is not None
    assert (a.value, a.create_revision, a.mod_revision, a.lease) == (b"2", first, second, None)
    assert b is not None
    assert (b.value, b.create_revision, b.mod_revision) == (b"\x00\xff", first, first)


async def test_deleted_and_made_again_gets_a_new_create_revision(store: Store) -> None:
    await put(store, ("/a", b"1"))
    assert (await store.txn((), (Delete("/a"),))).ok
    assert await store.get("/a") is None
    again = await put(store, ("/a", b"1"))
    entry = await store.get("/a")
    assert entry is not None
    assert entry.create_revision == again


async def test_deleting_what_is_not_there_is_fine(store: Store) -> None:
    assert (await store.txn((), (Delete("/none"),))).ok


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        (Compare("/a", value=b"1"), True),
        (Compare("/a", value=b"2"), False),
        (Compare("/a", create_revision=0), False),
        (Compare("/none", create_revision=0), True),
        (Compare("/none", mod_revision=0), True),
        (Compare("/none", value=b""), False),
        (Compare("/a"), True),
        (Compare("/none"), True),
    ],
)
async def test_a_transaction_is_done_only_if_its_comparison_holds(store: Store, compare: Compare, holds: bool) -> None:
    before = await put(store, ("/a", b"1"))
    done = await store.txn((compare,), (Put("/b", b"x"), Delete("/a")))
    assert done.ok is holds
    assert (await store.get("/b") is not None) is holds
    assert (await store.get("/a") is None) is holds
    assert (done.revision > before) is holds


async def test_revisions_are_compared(store: Store) -> None:
    created = await put(store, ("/a", b"1"))
    modified = await put(store, ("/a", b"2"))
    assert not (await store.txn((Compare("/a", mod_revision=created),), (Put("/a", b"3"),))).ok
    assert not (await store.txn((Compare("/a", create_revision=modified),), (Put("/a", b"3"),))).ok
    both = Compare("/a", create_revision=created, mod_revision=modified)
    assert (await store.txn((both,), (Put("/a", b"3"),))).ok


async def test_one_failing_comparison_stops_everything(store: Store) -> None:
    await put(store, ("/a", b"1"), ("/b", b"1"))
    both = (Compare("/a", value=b"1"), Compare("/b", value=b"2"))
    assert not (await store.txn(both, (Put("/a", b"x"), Put("/b", b"x")))).ok
    assert [e.value for e in await store.range("/")] == [b"1", b"1"]


async def test_a_key_twice_in_one_transaction_is_an_error(store: Store) -> None:
    with pytest.raises(StoreError, match="only once"):
        await store.txn((), (Put("/a", b"1"), Delete("/a")))
    assert await store.get("/a") is None


async def test_range_is_ordered_limited_and_resumable(store: Store) -> None:
    keys = ["/x/1", "/x/10", "/x/2", "/x/é", "/x0", "/w", "/x"]
    await put(store, *((k, k.encode()) for k in keys))
    inside = sorted(k for k in keys if k.startswith("/x/"))
    assert [e.key for e in await store.range("/x/")] == inside
    assert [e.key for e in await store.range("/x/", reverse=True)] == inside[::-1]
    assert [e.key for e in await store.range("/x/", limit=2)] == inside[:2]
    assert [e.key for e in await store.range("/x/", after=inside[1])] == inside[2:]
    assert [e.key for e in await store.range("/x/", after=inside[1], reverse=True)] == inside[:1]
    assert [e.key for e in await store.range("/x/", after=inside[3], reverse=True, limit=1)] == [inside[2]]
    assert [e.key for e in await store.range("")] == sorted(keys)


async def test_a_lease_ends_and_takes_its_keys(store: Store, clock: Hand) -> None:
    lease = await store.grant(15.0)
    await put(store, ("/leader", b"me"), lease=lease)
    await put(store, ("/other", b"stays"))
    clock.at += 14.9
    entry = await store.get("/leader")
    assert entry is not None
    assert entry.lease == lease
    clock.at += 0.2
    assert await store.get("/leader") is None
    assert [e.key for e in await store.range("/")] == ["/other"]
    assert await store.renew(lease) is None
    done = await store.txn((Compare("/leader", create_revision=0),), (Put("/leader", b"you"),))
    assert done.ok


async def test_renewing_keeps_a_lease(store: Store, clock: Hand) -> None:
    lease = await store.grant(15.0)
    await put(store, ("/leader", b"me"), lease=lease)
    for _ in range(4):
        clock.at += 10.0
        assert await store.renew(lease) == 15.0
    assert await store.get("/leader") is not None


async def test_revoking_deletes_at_once_and_twice_is_fine(store: Store) -> None:
    lease = await store.grant(15.0)
    await put(store, ("/leader", b"me"), lease=lease)
    await store.revoke(lease)
    assert await store.get("/leader") is None
    await store.revoke(lease)
    await store.revoke(987654)
    assert await store.renew(lease) is None


async def test_a_put_with_an_ended_lease_is_an_error_and_writes_nothing(store: Store, clock: Hand) -> None:
    lease = await store.grant(1.0)
    clock.at += 2.0
    with pytest.raises(StoreError, match="has ended"):
        await store.txn((), (Put("/b", b"1"), Put("/a", b"1", lease)))
    assert await store.range("/") == []


async def test_leases_are_never_used_again(store: Store) -> None:
    first = await store.grant(15.0)
    await store.revoke(first)
    assert await store.grant(15.0) != first


async def test_putting_without_its_lease_frees_a_key(store: Store, clock: Hand) -> None:
    lease = await store.grant(5.0)
    await put(store, ("/a", b"1"), lease=lease)
    await put(store, ("/a", b"2"))
    clock.at += 6.0
    entry = await store.get("/a")
    assert entry is not None
    assert entry.lease is None


async def test_a_recreated_key_never_gets_the_revision_of_the_lost_one(store: Store, clock: Hand) -> None:
    """The epoch is the create revision of the leader's key: it must grow with every new leader."""
    seen: list[int] = []
    for _ in range(3):
        lease = await store.grant(1.0)
        seen.append(await put(store, ("/leader", b"x"), lease=lease))
        clock.at += 2.0
        assert await store.get("/leader") is None
    assert seen == sorted(set(seen))


async def test_many_at_once_lose_nothing(store: Store) -> None:
    """Compare-and-set from many tasks: every increment counts once."""
    await put(store, ("/n", b"0"))

    async def add() -> None:
        while True:
            entry = await store.get("/n")
            assert entry is not None
            here = Compare("/n", mod_revision=entry.mod_revision)
            if (await store.txn((here,), (Put("/n", str(int(entry.value) + 1).encode()),))).ok:
                return

    await asyncio.gather(*(add() for _ in range(8)))
    entry = await store.get("/n")
    assert entry is not None
    assert entry.value == b"8"


async def test_closed_is_unavailable_and_closing_twice_is_fine(store: Store) -> None:
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.get("/a")


KEYS = st.sampled_from(["/a", "/a/b", "/b", "/é"])
VALUES = st.sampled_from([b"", b"1", b"2"])
COMPARES = st.builds(
    Compare, KEYS, st.none() | st.integers(0, 4), st.none() | st.integers(0, 4), st.none() | st.none() | VALUES
)
OPS = st.lists(st.builds(Put, KEYS, VALUES) | st.builds(Delete, KEYS), max_size=3, unique_by=lambda op: op.key)
STEPS = st.lists(
    st.tuples(st.just("txn"), st.lists(COMPARES, max_size=1), OPS)
    | st.tuples(st.just("leased"), KEYS, st.floats(1.0, 20.0))
    | st.tuples(st.just("wait"), st.floats(0.5, 20.0), st.none())
    | st.tuples(st.just("renew"), st.integers(0, 2), st.none())
    | st.tuples(st.just("revoke"), st.integers(0, 2), st.none()),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_twins_agree(steps: list[tuple[str, object, object]]) -> None:
    """Any history gives the same answers and the same entries on every store."""
    told = [asyncio.run(_play(make, steps)) for make in MAKERS.values()]
    assert all(t == told[0] for t in told)


async def _play(make: Callable[[Path, Hand], Store], steps: list[tuple[str, object, object]]) -> list[object]:
    clock, told, leases = Hand(), list[object](), list[int]()
    with tempfile.TemporaryDirectory() as folder:
        store = make(Path(folder), clock)
        await store.open()
        try:
            for kind, one, two in steps:
                told.append(await _step(store, clock, leases, kind, one, two))
                told.append([(e.key, e.value, e.create_revision, e.mod_revision) for e in await store.range("/")])
        finally:
            await store.close()
    return told


async def _step(store: Store, clock: Hand, leases: list[int], kind: str, one: object, two: object) -> object:
    if kind == "txn":
        assert isinstance(one, list)
        assert isinstance(two, list)
        ops: list[Op] = two
        return await store.txn(tuple(one), tuple(ops))
    if kind == "leased":
        assert isinstance(two, float)
        leases.append(await store.grant(two))
        return await store.txn((), (Put(str(one), b"leased", leases[-1]),))
    if kind == "wait":
        assert isinstance(one, float)
        clock.at += one
        return None
    assert isinstance(one, int)
    if one >= len(leases):
        return None
    if kind == "renew":
        return await store.renew(leases[one])
    await store.revoke(leases[one])
    return None
