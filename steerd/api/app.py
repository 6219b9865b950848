"""The HTTP API as one application: which path goes to which handler, and what holds for all of them."""

from __future__ import annotations

import asyncio

from aiohttp import web

from steerd.api import changes, reads
from steerd.api.auth import Auth
from steerd.api.keys import ACCEPT, AUTH, LIVE, METRICS, READY, STEERING, Accept, Live, Ready
from steerd.api.openapi import openapi
from steerd.api.pages import FILES, page
from steerd.api.ports import Metrics, Steering
from steerd.api.problems import problems
from steerd.api.sse import events
from steerd.api.stream import stream

__all__ = ["BODY_MAX", "make_app", "make_small_app"]

BODY_MAX = 64 * 1024
"""Bytes a request's body may have: a command is a few hundred."""

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def make_app(
    steering: Steering,
    *,
    auth: Auth,
    meters: Metrics | None = None,
    ready: Ready | None = None,
    accept: Accept | None = None,
) -> web.Application:
    """A coordinator's API.

    `ready` replaces the coordinator's own word on readiness (a process with an agent too adds to it); `accept` puts a
    config in force that was refused because it removes too much, and answers why not, or None.
    """
    app = _base(ready or steering.ready, meters)
    app[STEERING] = steering
    app[AUTH] = auth
    if accept is not None:
        app[ACCEPT] = accept
    routes = [
        web.get("/v1/status", reads.status),
        web.get("/v1/explain/{name}", reads.explain),
        web.get("/v1/plan", reads.plan),
        web.get("/v1/history", reads.history),
        web.get("/v1/openapi.json", openapi),
        web.get("/v1/events", events, allow_head=False),
        web.get("/v1/agents/{name}/stream", stream, allow_head=False),
        web.get("/beacon/{name}", reads.beacon),
        web.post("/v1/drains", changes.drain),
        web.delete("/v1/drains/{name}", changes.restore),
        web.post("/v1/pins", changes.pin),
        web.delete("/v1/pins/{name}", changes.unpin),
        web.post("/v1/freeze", changes.freeze),
        web.delete("/v1/freeze", changes.unfreeze),
        web.post("/v1/config/accept", changes.accept_config),
    ]
    app.add_routes(routes)
    app.add_routes([web.get(path, page) for path in FILES])
    return app


def make_small_app(ready: Ready, meters: Metrics | None = None) -> web.Application:
    """What an agent alone answers: /livez, /readyz and /metrics."""
    return _base(ready, meters)


def _base(ready: Ready, meters: Metrics | None) -> web.Application:
    app = web.Application(middlewares=[problems], client_max_size=BODY_MAX)
    app[READY] = ready
    app[LIVE] = Live()
    if meters is not None:
        app[METRICS] = meters
    app.add_routes(
        [web.get("/livez", reads.livez), web.get("/readyz", reads.readyz), web.get("/metrics", reads.metrics)]
    )
    app.on_response_prepare.append(_headers)
    app.on_shutdown.append(_end_long_answers)
    return app


async def _headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Nothing this API says may be stored, guessed at, framed or embedded by a page of another origin."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


async def _end_long_answers(app: web.Application) -> None:
    """Close agents' streams and event readers, so that a stop does not wait for them."""
    live = app[LIVE]
    live.stopping = True
    await asyncio.gather(*(close() for close in live.closers.values()), return_exceptions=True)
