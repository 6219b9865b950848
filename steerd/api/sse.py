"""`/v1/events`: what happens, as it happens, as server-sent events. One JSON object an event, with its `kind`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohttp import web

from steerd.api.keys import AUTH, LIVE, STEERING
from steerd.api.problems import Problem
from steerd.api.times import stamped

__all__ = ["KEEPALIVE_S", "WATCHERS_MAX", "events"]

KEEPALIVE_S = 10.0
"""A comment line this often keeps proxies from closing a quiet stream and finds readers that are gone."""
WATCHERS_MAX = 64


async def events(request: web.Request) -> web.StreamResponse:
    """Send events until the reader leaves or the coordinator stops."""
    request.app[AUTH].reader(request)
    live = request.app[LIVE]
    if live.stopping or live.watchers >= WATCHERS_MAX:
        raise Problem(503, f"At most {WATCHERS_MAX} readers may follow events at once.", headers={"Retry-After": "5"})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    live.watchers += 1
    try:
        # Subscribed before the head goes out: a reader that has seen it misses nothing.
        source = request.app[STEERING].subscribe()
        await response.prepare(request)
        await response.write(b"retry: 2000\n\n")
        stop = asyncio.Event()
        live.closers[response] = lambda: _end(stop)
        with contextlib.suppress(ConnectionError):  # the reader left: the usual end
            await _copy(source, response, stop)
    finally:
        live.watchers -= 1
        live.closers.pop(response, None)
    return response


async def _end(stop: asyncio.Event) -> None:
    stop.set()


async def _copy(source: AsyncIterator[dict[str, Any]], response: web.StreamResponse, stop: asyncio.Event) -> None:
    """Write events until `source` or the reader ends or `stop` is set, with a comment line in every quiet spell."""
    stopped = asyncio.ensure_future(stop.wait())
    upcoming = asyncio.ensure_future(anext(source, None))
    try:
        while True:
            await asyncio.wait({upcoming, stopped}, timeout=KEEPALIVE_S, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                return
            if not upcoming.done():
                await response.write(b": still here\n\n")
                continue
            event = upcoming.result()
            if event is None:
                return
            await response.write(_line(event))
            upcoming = asyncio.ensure_future(anext(source, None))
    finally:
        stopped.cancel()
        upcoming.cancel()
        await asyncio.gather(stopped, upcoming, return_exceptions=True)
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


def _line(event: dict[str, Any]) -> bytes:
    # No `event:` line: a reader would have to know every kind by name to hear of it.
    return b"data: " + msgspec.json.encode(stamped(event, "at")) + b"\n\n"
