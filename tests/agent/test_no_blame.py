"""What is wrong with the agent or its config, provoked for real under a running agent: no target is ever called unhealthy for it.

A revoked key, a full disk and half a minute of saturation are in `test_failure_modes`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import email.utils
import resource
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from probes.host_clock import HOST_CLOCK
from steerd.agent.agent import Agent
from steerd.model.fleet import Check, Endpoint, Fleet
from steerd.model.sample import Layer
from steerd.model.vote import Verdict
from tests.agent.test_agent import Ears
from tests.support.agent_rig import Listener, Targets, make_fleet, running
from tests.support.names import Names, names_served
from tests.support.wait import until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DAY_S = 86400.0
LOOKS = 6
"""Looks by each check to watch an endpoint for: twice what makes a verdict."""

EVERY_S = 0.5
"""So that a busy machine is not late by what an agent doubts itself for."""


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """Nobody said anything of the time before, nor after."""
    HOST_CLOCK.forget()
    yield
    HOST_CLOCK.forget()


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


def served_by(ca: trustme.CA, begins: float = -10.0, ends: float = 10.0) -> ssl.SSLContext:
    """A server's side with a certificate for this host that is valid between so many days from now."""
    now = dt.datetime.now(dt.UTC)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    dates = {"not_before": now + dt.timedelta(days=begins), "not_after": now + dt.timedelta(days=ends)}
    ca.issue_cert("127.0.0.1", **dates).configure_cert(context)
    return context


@asynccontextmanager
async def site(context: ssl.SSLContext | None = None, off_s: float = 0.0) -> AsyncIterator[str]:
    """A server that says well to everything, and as its time what a clock that is `off_s` ahead does."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(headers={"Date": email.utils.formatdate(time.time() + off_s, usegmt=True)})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    scheme = "http" if context is None else "https"
    try:
        yield f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def fleet_of(urls: dict[str, str], references: tuple[str, ...] = (), **settings: Any) -> Fleet:
    """An endpoint for each URL, looked at by new connections, through both engines of HTTP and by TLS alone."""
    always: dict[str, Any] = {"fresh_every": 1, **settings}
    checks = (
        Check("liveness", Layer.LIVENESS, "http", EVERY_S, 2.0, always),
        Check("readiness", Layer.READINESS, "http", EVERY_S, 2.0, {**always, "follow": True}),
    )
    if settings:
        checks += (Check("tls", Layer.LIVENESS, "tls", EVERY_S, 2.0, {k: v for k, v in settings.items() if k == "ca"}),)
    fleet = make_fleet("http://unused.test", {}, references=references)
    (service,) = fleet.services
    endpoints = tuple(Endpoint(name, "chat", "z1", url, 1.0) for name, url in urls.items())
    return replace(fleet, services=(replace(service, checks=checks, endpoints=endpoints),))


class Watcher(Ears):
    """Ears that look at the verdict after each look."""

    def __init__(self) -> None:
        super().__init__()
        self.agent: Agent | None = None
        self.seen: dict[str, set[Verdict]] = {}

    def on_look(self, endpoint: str, service: str, zone: str, check: str, **more: Any) -> None:
        super().on_look(endpoint, service, zone, check, **more)
        if self.agent is not None and self.agent.status()["running"]:
            self.seen.setdefault(endpoint, set()).add(self.agent.verdict_of(endpoint))

    async def for_a_while(self, *endpoints: str) -> None:
        """Until each was looked at `LOOKS` more times by every check."""
        start = {e: sum(one == e for one, _, _ in self.looks) for e in endpoints}
        await until(
            lambda: all(sum(one == e for one, _, _ in self.looks) >= start[e] + 3 * LOOKS for e in endpoints), 60.0
        )


@asynccontextmanager
async def watched(fleet: Fleet) -> AsyncIterator[tuple[Agent, Watcher]]:
    ears = Watcher()
    async with running(fleet, ears) as agent:
        ears.agent = agent
        await until(lambda: agent.status()["endpoints"] > 0)
        yield agent, ears


def is_well(agent: Agent, *endpoints: str) -> Callable[[], bool]:
    return lambda: all(agent.verdict_of(endpoint) is Verdict.HEALTHY for endpoint in endpoints)


@pytest.mark.parametrize("secure", [False, True], ids=["references by http", "references by https"])
@pytest.mark.parametrize(("off_days", "begins", "ends"), [(30.0, 25.0, 35.0), (-30.0, -35.0, -25.0)])
async def test_a_wrong_clock_of_the_agent(
    ca: trustme.CA, tmp_path: Path, off_days: float, begins: float, ends: float, secure: bool
) -> None:
    """Everybody else lives a month later, or earlier: for this agent every certificate is of another time."""
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with AsyncExitStack() as stack:
        tls = served_by(ca, begins, ends)
        enter = stack.enter_async_context
        references = [await enter(site(tls if secure else None, off_days * DAY_S)) for _ in range(2)]
        one, two, plain = await enter(site(tls)), await enter(site(tls)), await enter(site())
        fleet = fleet_of({"one": one, "two": two}, tuple(references), ca=str(tmp_path / "ca.pem"))
        (service,) = fleet.services
        bare = replace(service, name="bare", endpoints=(Endpoint("plain", "bare", "z1", plain, 1.0),))
        fleet = replace(fleet, services=(service, replace(bare, checks=service.checks[:2])))
        agent, ears = await enter(watched(fleet))
        await ears.for_a_while("one", "two")
        await until(is_well(agent, "plain"))
        assert Verdict.UNHEALTHY not in ears.seen["one"] | ears.seen["two"]
        told = {(endpoint, check) for endpoint, check, reason, host in ears.errors if "clock is off" in reason}
        assert told >= {(endpoint, check.name) for endpoint in ("one", "two") for check in service.checks}
        assert agent.status()["abstaining"] is None  # what it sees of others is worth as much as ever
        await until(lambda: abs(agent.status()["self"].get("clock_off_s", 0.0) + off_days * DAY_S) < 5.0, 20.0)


async def test_one_expired_certificate_is_found_by_a_right_clock(ca: trustme.CA, tmp_path: Path) -> None:
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        references = (await enter(site()), await enter(site()))
        good, old = await enter(site(served_by(ca))), await enter(site(served_by(ca, ends=-1.0)))
        agent, _ = await enter(watched(fleet_of({"good": good, "old": old}, references, ca=str(tmp_path / "ca.pem"))))
        await until(lambda: agent.verdict_of("old") is Verdict.UNHEALTHY, 20.0)
        await until(is_well(agent, "good"), 20.0)
        assert agent.vote_of("old").reason == "TLS certificate expired"


@pytest.mark.parametrize("broken", ["other", "garbage", "empty", "gone"])
async def test_a_broken_trust_store_of_the_agent(ca: trustme.CA, tmp_path: Path, broken: str) -> None:
    file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    async with site(served_by(ca)) as one, watched(fleet_of({"one": one}, ca=str(file))) as (agent, ears):
        await until(is_well(agent, "one"), 20.0)
        if broken == "other":
            trustme.CA().cert_pem.write_to_path(str(file))
        elif broken == "gone":
            file.unlink()
        else:
            file.write_text("no certificate" if broken == "garbage" else "")
        await until(lambda: len({check for _, check, _, _ in ears.errors}) == 3, 20.0)
        await ears.for_a_while("one")
        assert Verdict.UNHEALTHY not in ears.seen["one"]
        ca.cert_pem.write_to_path(str(file))
        await until(lambda: len(set(ears.over)) == 3, 20.0)
        await until(is_well(agent, "one"), 20.0)


async def test_an_issuer_that_the_agent_never_trusted(ca: trustme.CA, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    fleet = fleet_of({"one": "", "two": ""}, ca=str(tmp_path / "ca.pem"))
    async with site(served_by(ca)) as one, site(served_by(ca)) as two:
        (service,) = fleet.services
        urls = {"one": one, "two": two}
        endpoints = tuple(replace(e, url=urls[e.name]) for e in service.endpoints)
        fleet = replace(fleet, services=(replace(service, endpoints=endpoints),))
        async with watched(fleet) as (_, ears):
            await ears.for_a_while("one", "two")
            assert ears.seen["one"] | ears.seen["two"] == {Verdict.UNKNOWN}
            assert all("not trusted here" in reason for _, _, reason, _ in ears.errors)


@pytest.fixture
async def names() -> AsyncIterator[Names]:
    async with names_served() as found:
        yield found


@pytest.mark.parametrize("fault", ["servfail", "silent", "one zone"])
async def test_a_broken_resolver_whole_and_in_part(names: Names, fault: str) -> None:
    async with site() as url:
        port = url.rpartition(":")[2]
        for name in ("one", "two"):
            names.records[f"{name}.test"] = (1, ("127.0.0.1",))
        urls = {name: f"http://{name}.test:{port}" for name in ("one", "two")}
        async with watched(fleet_of(urls)) as (agent, ears):
            await until(is_well(agent, "one", "two"), 20.0)
            names.broken, names.mute = fault == "servfail", fault == "silent"
            if fault == "one zone":
                names.failing = {"one.test"}
            await until(lambda: any(endpoint == "one" for endpoint, _, _, _ in ears.errors), 20.0)
            if fault == "one zone":
                await ears.for_a_while("one", "two")
                assert agent.verdict_of("two") is Verdict.HEALTHY
                assert agent.status()["abstaining"] is None
            else:
                await until(lambda: agent.status()["abstaining"] is not None, 30.0)
            assert Verdict.UNHEALTHY not in ears.seen["one"] | ears.seen["two"]
            names.broken = names.mute = False
            names.failing = set()
            await until(is_well(agent, "one", "two"), 30.0)


async def test_descriptors_that_run_out() -> None:
    """Under an agent in a process of its own, which may open no more than it has."""
    async with Listener().serve() as listener, Targets().serve() as targets:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.agent_process", listener.url, targets.url), cwd=ROOT
        )
        try:
            await until(lambda: [v.verdict for v in listener.votes.values()] == [Verdict.HEALTHY] * 2, 20.0)
            limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
            begun = len(listener.frames)
            await until(lambda: any(b.abstaining for b in listener.ballots), 30.0)
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
            before = len(listener.ballots)
            await until(
                lambda: (
                    any(b.full and not b.abstaining for b in listener.ballots[before:])
                    and [v.verdict for v in listener.votes.values()] == [Verdict.HEALTHY] * 2
                ),
                30.0,
            )
            assert len(listener.frames) > begun
            assert not any(v.verdict is Verdict.UNHEALTHY for b in listener.ballots for v in b.votes)
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), 10.0)
