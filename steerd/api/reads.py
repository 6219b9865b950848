"""Everything that is only read: how steerd itself is, what it sees, and what it would write."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from steerd.api import times
from steerd.api.bodies import limit_of, since_of
from steerd.api.keys import AUTH, METRICS, READY, STEERING
from steerd.api.problems import Problem
from steerd.stores.base import StoreError

__all__ = ["answer", "beacon", "explain", "history", "livez", "metrics", "plan", "readyz", "status"]


def answer(value: Any, status: int = 200) -> web.Response:
    """`value` as JSON."""
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


async def livez(_request: web.Request) -> web.Response:
    """The process runs and its event loop turns: nothing else is asked."""
    return web.Response(text="ok\n")


async def readyz(request: web.Request) -> web.Response:
    """200 when this process can do its work, else 503 with why not."""
    ready, text = request.app[READY]()
    if not ready:
        raise Problem(503, text or "not ready", kind="not-ready", headers={"Retry-After": "2"})
    return web.Response(text=f"{text or 'ok'}\n")


async def metrics(request: web.Request) -> web.Response:
    """The meters as Prometheus text."""
    source = request.app.get(METRICS)
    if source is None:
        raise Problem(404, "Metrics for Prometheus are off: set `telemetry.prometheus: true`.")
    text, content_type = await source.scrape()
    return web.Response(body=text, headers={"Content-Type": content_type})


async def status(request: web.Request) -> web.Response:
    """The fleet at a glance."""
    request.app[AUTH].reader(request)
    return answer(times.status(request.app[STEERING].status()))


async def explain(request: web.Request) -> web.Response:
    """Why one name stands as it does."""
    request.app[AUTH].reader(request)
    name = request.match_info["name"]
    try:
        return answer(times.explained(request.app[STEERING].explain(name)))
    except KeyError:
        raise Problem(404, unknown_name(name)) from None


async def plan(request: web.Request) -> web.Response:
    """What would be written now."""
    request.app[AUTH].reader(request)
    return answer(request.app[STEERING].plan())


async def history(request: web.Request) -> web.Response:
    """What happened, oldest first."""
    request.app[AUTH].reader(request)
    since, limit = since_of(request), limit_of(request)
    try:
        rows = await request.app[STEERING].history(since, limit)
    except StoreError as error:
        raise Problem(503, f"The store does not answer: {error}.", kind="store-unavailable") from error
    return answer({"events": [times.stamped(row, "at") for row in rows]})


async def beacon(request: web.Request) -> web.Response:
    """200 while steerd wants `name` in service, 503 while it does not; the other way round with `?inverted`.

    Open to everyone: the health checks that ask are the cloud's own. Inverted ones are the safe kind: a steerd that is
    gone then changes nothing.
    """
    name = request.match_info["name"]
    wanted = request.app[STEERING].beacon(name)
    if wanted is None:
        raise Problem(404, unknown_name(name))
    inverted = "inverted" in request.query
    word = "in service" if wanted else "drained"
    if wanted is not inverted:
        return web.Response(text=f"{name} {word}\n")
    raise Problem(503, f"{name} is {word}.", kind="drained" if not wanted else "in-service")


def unknown_name(name: str) -> str:
    """What to say of a name nobody knows."""
    return f"Nothing in this fleet is called {name!r}; `steerd status` lists the names."
