"""The event stream: everybody hears everything, or is told how much was lost."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from steerd.coordinator.feed import WAITING, Feed


def event(n: int) -> dict[str, Any]:
    return {"kind": "health", "of": "e", "text": str(n), "at": float(n), "data": {}}


async def test_each_reader_gets_every_event_in_order() -> None:
    feed = Feed()
    one, two = feed.subscribe(), feed.subscribe()
    waiting = asyncio.ensure_future(anext(one))
    await asyncio.sleep(0)
    for n in range(3):
        feed.push(event(n))
    assert await waiting == event(0)
    feed.end()
    assert [e async for e in one] == [event(1), event(2)]
    assert [e async for e in two] == [event(0), event(1), event(2)]
    assert [e async for e in feed.subscribe()] == []


async def test_a_slow_reader_loses_the_oldest_and_is_told_how_many() -> None:
    feed = Feed()
    slow = feed.subscribe()
    for n in range(WAITING + 5):
        feed.push(event(n))
    feed.end()
    got = [e async for e in slow]
    assert got[0]["kind"] == "lost"
    assert got[0]["lost"] == 5
    assert got[1:] == [event(n) for n in range(5, WAITING + 5)]


async def test_a_reader_that_ends_or_is_dropped_is_forgotten() -> None:
    feed = Feed()
    reader = feed.subscribe()
    await reader.aclose()
    feed.push(event(1))
    assert [e async for e in reader] == []
    del reader
    gc.collect()
    assert len(feed._readers) == 0
