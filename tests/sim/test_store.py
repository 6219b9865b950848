"""The cluster's moods in a rehearsal: what is read while reads are stale is never decided on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from steerd.sim.store import SimData
from steerd.stores.base import Compare, Put
from steerd.stores.memory import MemoryStore
from tests.sim.rehearse import run


async def _stale_reads() -> None:
    data = SimData(lambda: 0.0)
    store = MemoryStore(data)
    await store.open()
    await store.txn((), (Put("/a", b"1"),))
    data.fall_behind()
    data.fall_behind()
    await store.txn((), (Put("/a", b"2"), Put("/b", b"2")))
    found = await store.get("/a")
    assert found is not None
    assert found.value == b"1"
    assert [e.key for e in await store.range("/")] == ["/a"]
    refused = await store.txn((Compare("/a", mod_revision=found.mod_revision),), (Put("/a", b"3"),))
    assert not refused.ok  # comparisons are the cluster's, whatever was read
    data.catch_up()
    assert await store.get("/b") is None
    data.catch_up()
    assert [e.value for e in await store.range("/")] == [b"2", b"2"]


def test_stale_reads_show_what_was() -> None:
    asyncio.run(_stale_reads())


@pytest.mark.parametrize("crash", ["co-eu", "leader"])
@pytest.mark.parametrize("since", ["30s", "115s", "150s"])
def test_nothing_is_decided_on_a_stale_read(tmp_path: Path, since: str, crash: str) -> None:
    """Whenever they begin: nobody writes on what was read, and the drain that only the store knows of is kept."""
    faults = f"""faults:
  - {{at: {since}, until: 5m, store: etcd, kind: stale-reads}}
  - {{at: 2m, operator: drain, name: eu-a, now: true, for: 1h, reason: maintenance}}
  - {{at: 3m, coordinator: {crash}, kind: crash}}
  - {{at: 200s, zone: us-c, kind: power-loss}}
expect:
  - {{zone: us-c, share: '>0.16', during: [1m, 5m]}}
  - {{zone: us-c, share: 0, by: 6m}}
  - {{zone: eu-a, share: 0, by: 6m}}
"""
    result = run(tmp_path, faults, fleet="two-regions-each-2", duration="7m")
    assert result.passed, result.data()["failures"]


def test_a_state_from_before_anybody_led_is_none_to_lead_with(tmp_path: Path) -> None:
    """Reads say that nobody leads and nothing is known: whoever wins the lead then, by a write, does not begin with that."""
    faults = """faults:
  - {at: 0s, until: 5m, store: etcd, kind: stale-reads}
  - {at: 3m, coordinator: co-eu, kind: crash}
  - {at: 200s, zone: us-c, kind: power-loss}
expect:
  - {zone: us-c, share: '>0.16', during: [1m, 5m]}
  - {zone: us-c, share: 0, by: 6m}
  - {alert: store-unavailable, by: 1m}
"""
    result = run(tmp_path, faults, fleet="two-regions-each-2", duration="7m")
    assert result.passed, result.data()["failures"]
