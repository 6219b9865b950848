"""Every address behind a name, by each kind of look: all at once where looks are free, one in turn where they cost tokens."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from probes.busy import busy_or_hung
from probes.outcome import Layer, Outcome, Status
from probes.probe import look_safely
from probes.progress import ProgressProbe
from probes.target import Target
from probes.wire.resolver import Resolver
from tests.support.looking import Look
from tests.support.names import Names

ONE, TWO, THREE = "127.0.0.1", "127.0.0.2", "127.0.0.3"
METRICS = {"running": ("running",), "waiting": ("waiting",), "steps": ("steps",)}
TENSOR = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
INFER = {"model_name": "m", "outputs": [{"name": "y", "shape": [1], "datatype": "FP32", "data": [2]}]}
Answer = Callable[[str, web.Request], web.StreamResponse]


class Replicas:
    """One port of several addresses; `asked` is what came where."""

    def __init__(self, answer: Answer) -> None:
        self.port = 0
        self.asked: list[tuple[str, str]] = []
        self._answer = answer
        self._runners: dict[str, web.AppRunner] = {}

    async def open(self, *addresses: str, context: dict[str, ssl.SSLContext] | None = None) -> None:
        for address in addresses:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", self._handler(address))
            runner = self._runners[address] = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
            await runner.setup()
            tls = None if context is None else context[address]
            await web.TCPSite(runner, address, self.port, ssl_context=tls, reuse_address=True).start()
            self.port = runner.addresses[0][1]

    async def close(self, *addresses: str) -> None:
        for address in addresses or tuple(self._runners):
            await self._runners.pop(address).cleanup()

    def _handler(self, address: str) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.asked.append((address, request.headers["Host"]))
            return self._answer(address, request)

        return handle


@asynccontextmanager
async def replicas(answer: Answer, *addresses: str) -> AsyncIterator[Replicas]:
    found = Replicas(answer)
    await found.open(*addresses)
    try:
        yield found
    finally:
        await found.close()


def well(_: str, request: web.Request) -> web.StreamResponse:
    if request.path.endswith("/infer"):
        return web.json_response(INFER)
    return web.json_response({"id": "s1", "state": "ok"})


async def test_tcp_asks_every_address(look: Look, names: Names) -> None:
    async with replicas(well, ONE, TWO) as found:
        url = f"tcp://chat.test:{found.port}"
        names.records["chat.test"] = (60, (ONE, TWO))
        good = await look("tcp", url)
        assert (good.status, good.stages.dns_s is not None) == (Status.PASS, True)
        for name, addresses, status, reason in (
            ("half", (ONE, THREE), Status.SLOW, "1 of 2 addresses: connection refused"),
            ("dead", (THREE, "127.0.0.4"), Status.FAIL, "connection refused"),
        ):
            names.records[f"{name}.test"] = (60, addresses)
            outcome = await look("tcp", f"tcp://{name}.test:{found.port}")
            assert (outcome.status, outcome.reason) == (status, reason)
        names.broken = True
        lost = await look("tcp", f"tcp://lost.test:{found.port}")
        assert lost.status is Status.ERROR
        named = await look("tcp", "tcp://x.test:1", {"host": "half.test", "port": found.port})
        assert named.status is Status.SLOW


async def test_tls_asks_every_address_for_the_names_certificate(look: Look, names: Names, tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    now = dt.datetime.now(dt.UTC)
    contexts = {}
    for address, days in ((ONE, 30), (TWO, -1)):
        contexts[address] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        dates = {"not_before": now - dt.timedelta(days=60), "not_after": now + dt.timedelta(days=days)}
        ca.issue_cert("chat.test", **dates).configure_cert(contexts[address])
    found = Replicas(well)
    await found.open(ONE, TWO, context=contexts)
    names.records["chat.test"] = (60, (ONE, TWO))
    outcome = await look("tls", f"https://chat.test:{found.port}", {"ca": str(tmp_path / "ca.pem")})
    assert (outcome.status, outcome.reason) == (Status.SLOW, "1 of 2 addresses: TLS certificate expired")
    assert (outcome.detail or "").startswith(TWO)
    await found.close()


async def test_http_that_follows_redirects_asks_every_address(look: Look, names: Names) -> None:
    def onward(_: str, request: web.Request) -> web.StreamResponse:
        if request.path == "/health":
            raise web.HTTPFound("/healthz")
        return web.Response()

    async with replicas(onward, ONE, TWO) as found:
        names.records["chat.test"] = (60, (ONE, TWO))
        url = f"http://chat.test:{found.port}"
        assert (await look("http", url, {"path": "/health", "follow": True})).status is Status.PASS
        assert Counter(found.asked) == {(a, f"chat.test:{found.port}"): 2 for a in (ONE, TWO)}


class Engines:
    """Metrics of an engine per address: busy; `hung` ones take no step."""

    def __init__(self) -> None:
        self.steps = {ONE: 1000, TWO: 400}
        self.hung: set[str] = set()
        self.turn = 0

    def answer(self, address: str, _: web.Request) -> web.StreamResponse:
        if address not in self.hung:
            self.steps[address] += 1
        return web.Response(text=f"running 2\nwaiting 1\nsteps {self.steps[address]}\n")

    def behind_one(self, _: str, request: web.Request) -> web.StreamResponse:
        """A load balancer: each scrape meets the other engine."""
        self.turn += 1
        return self.answer((ONE, TWO)[self.turn % 2], request)


async def until(look: Look, url: str, status: Status) -> Outcome:
    async with asyncio.timeout(10.0):
        while True:
            outcome = await look("progress", url, {**METRICS, "stall": 0.4, "sample": 5.0}, layer="progress")
            assert outcome.status in (status, Status.PASS, Status.SLOW), outcome
            if outcome.status is status:
                return outcome
            await asyncio.sleep(0.02)


async def test_progress_reads_every_address_by_itself(look: Look, names: Names) -> None:
    engines = Engines()
    async with replicas(engines.answer, ONE, TWO) as found:
        names.records["chat.test"] = (60, (ONE, TWO))
        url = f"http://chat.test:{found.port}"
        good = await until(look, url, Status.PASS)
        assert good.readings["running"] == 4.0
        engines.hung = {TWO}
        half = await until(look, url, Status.SLOW)
        assert half.reason == "1 of 2 addresses: no progress: busy and not one step"
        engines.hung = {ONE, TWO}
        dead = await until(look, url, Status.FAIL)
        assert (dead.reason, dead.transport) == ("no progress: busy and not one step", True)


async def test_progress_forgets_addresses_that_are_gone_also_where_one_is_left(names: Names) -> None:
    engines = Engines()
    probe = ProgressProbe(Layer.PROGRESS, METRICS, str)

    async def remembered(*addresses: str) -> set[str | None]:
        names.records["chat.test"] = (0, addresses)
        async with asyncio.timeout(10.0):
            while True:
                await look_safely(probe, target, asyncio.get_running_loop().time() + 2.0)
                if (kept := set(probe._known["e1"].seen)) == set(addresses):
                    return kept
                await asyncio.sleep(0.02)

    try:
        async with replicas(engines.answer, ONE, TWO) as found:
            target = Target("e1", f"http://chat.test:{found.port}")
            for addresses in ((ONE, TWO), (TWO,), (ONE,), (ONE, TWO)):
                assert await remembered(*addresses) == set(addresses)
    finally:
        await probe.close()


async def test_two_hung_engines_behind_one_address_are_hung_and_not_restarted_for_ever(look: Look) -> None:
    engines = Engines()
    async with replicas(engines.behind_one, ONE) as found:
        url = f"http://{ONE}:{found.port}"
        for _ in range(10):
            moving = await look("progress", url, {**METRICS, "stall": 0.4, "sample": 5.0}, layer="progress")
            assert moving.status is Status.PASS
        engines.hung = {ONE, TWO}
        outcome = await until(look, url, Status.FAIL)
        assert outcome.reason == "no progress: busy and not one step"


async def test_two_hung_engines_behind_one_address_are_not_busy() -> None:
    engines = Engines()
    engines.hung = {ONE, TWO}
    async with replicas(engines.behind_one, ONE) as found:
        probe = ProgressProbe(Layer.PROGRESS, METRICS, str)
        target = Target("e1", f"http://{ONE}:{found.port}")
        loop = asyncio.get_running_loop()
        for _ in range(2):
            await probe.look(target, loop.time() + 2.0)
        late = Outcome(Status.FAIL, Layer.LIVENESS, "no answer in time", transport=True, unanswered=True)
        for _ in range(2):  # the scrapes of one of these fall, those of the other rise
            engines.turn += 1
            outcome = await busy_or_hung(late, probe, target)
            assert (outcome.status, outcome.reason) == (Status.FAIL, "no answer in time"), outcome
        await probe.close()


SCRIPT = {"steps": [{"path": "/login", "capture": {"id": {"json": "id"}}}, {"path": "/ask/${id}"}, {"path": "/bye"}]}


@pytest.mark.parametrize(
    ("kind", "settings", "requests"), [("kserve-infer", {"inputs": [TENSOR]}, 1), ("script", SCRIPT, 3)]
)
async def test_a_user_path_asks_one_address_a_look_in_turn(
    look: Look, names: Names, kind: str, settings: dict[str, Any], requests: int
) -> None:
    async with replicas(well, ONE, TWO) as found:
        names.records["chat.test"] = (60, (ONE, TWO, THREE))
        url = f"http://chat.test:{found.port}"

        async def looked() -> tuple[Outcome, list[tuple[str, str]]]:
            found.asked.clear()
            return await look(kind, url, settings, layer="user_path", model="m"), list(found.asked)

        seen: Counter[Status] = Counter()
        for _ in range(6):
            outcome, asked = await looked()
            seen[outcome.status] += 1
            assert len(set(asked)) == 1, "all steps of a look at one address"
            assert len(asked) == requests
            assert asked[0][1] == f"chat.test:{found.port}"
            if outcome.status is Status.SLOW:
                assert outcome.reason == "one address of 3: connection refused"
                assert (outcome.detail or "").startswith(THREE)
                assert not outcome.transport
        assert seen == {Status.PASS: 4, Status.SLOW: 2}
        await found.close()
        outcome, _ = await looked()
        assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "connection refused", True)


async def test_a_user_path_sees_a_change_of_the_name_once_its_ttl_is_over(look: Look, names: Names) -> None:
    async with replicas(well, ONE, TWO) as found:
        names.records["chat.test"] = (1, (ONE,))
        url = f"http://chat.test:{found.port}"

        async def looked() -> str:
            assert (await look("kserve-infer", url, {"inputs": [TENSOR]}, model="m")).status is Status.PASS
            return found.asked[-1][0]

        assert await looked() == ONE
        names.records["chat.test"] = (1, (TWO,))
        deadline = asyncio.get_running_loop().time() + 5.0
        while await looked() != TWO:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)
        assert Resolver.of(asyncio.get_running_loop()).known("chat.test") == (TWO,)
