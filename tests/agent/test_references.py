"""References: what time their answers say it is, and which answers say nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from probes.host_clock import HOST_CLOCK
from steerd.agent.references import References
from tests.support.wait import until

HOUR_S = 3600.0


@contextlib.asynccontextmanager
async def served(behind_s: float, headers: dict[str, str], asked: list[str | None]) -> AsyncIterator[str]:
    """A reference whose `Date` is of some time ago."""

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Cache-Control"))
        date = email.utils.formatdate(time.time() - behind_s, usegmt=True)
        return web.Response(headers={"Date": date, **headers})

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("behind_s", "headers", "off"),
    [
        (0.0, {}, False),
        (HOUR_S, {}, True),
        (HOUR_S, {"Age": "0"}, True),
        (HOUR_S, {"Age": "3600"}, False),
        (HOUR_S, {"Age": "who knows"}, False),
    ],
)
async def test_the_time_is_not_read_from_what_a_cache_has_kept(
    behind_s: float, headers: dict[str, str], off: bool
) -> None:
    HOST_CLOCK.forget()
    asked: list[str | None] = []
    rounds: list[tuple[int, int]] = []
    try:
        async with served(behind_s, headers, asked) as url, aiohttp.ClientSession() as session:
            references = References(session, lambda *counts: rounds.append(counts))
            references.set_urls((url,))
            running = asyncio.create_task(references.run())
            try:
                await until(lambda: rounds)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        assert rounds[0] == (0, 1)  # whatever its time is, it is there
        assert abs(HOST_CLOCK.off_s()) > HOUR_S / 2 if off else HOST_CLOCK.off_s() == 0.0
        assert set(asked) == {"no-cache"}
    finally:
        HOST_CLOCK.forget()
