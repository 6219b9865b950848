"""Demand from Prometheus: a real HTTP server for the question, virtual time for the rest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from steerd.coordinator.alarms import Alarms
from steerd.coordinator.demand import AskError, Demands, ask_prometheus, number_in, shown
from steerd.core.events import DemandObserved
from steerd.model.fleet import Demand, Fleet
from tests.support.fleets import make_fleet
from tests.support.virtual_loop import run_virtual


@asynccontextmanager
async def server(answer: Callable[[web.Request], web.StreamResponse]) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return answer(request)

    app = web.Application()
    app.router.add_get("/prom/api/v1/query", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]  # a real socket behind the interface
    try:
        yield f"http://127.0.0.1:{port}/prom/"
    finally:
        await runner.cleanup()


def vector(*values: str) -> str:
    return json.dumps(
        {
            "status": "success",
            "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1.5, v]} for v in values]},
        }
    )


async def test_it_asks_the_query_and_takes_the_number() -> None:
    asked: list[str] = []

    def answer(request: web.Request) -> web.Response:
        asked.append(request.query["query"])
        return web.Response(text=vector("42.5"), content_type="application/json")

    async with server(answer) as url:
        assert await ask_prometheus(url, "sum(rate(x[1m]))") == 42.5
    assert asked == ["sum(rate(x[1m]))"]


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        pytest.param(400, '{"status": "error", "error": "parse error"}', "400: parse error", id="bad query"),
        pytest.param(502, "<html>", "502: no reason", id="a proxy"),
        pytest.param(302, "", "302", id="redirect"),
        pytest.param(200, "x" * 70_000, "more than 65536 bytes", id="endless"),
    ],
)
async def test_what_is_no_answer_is_told(status: int, body: str, text: str) -> None:
    async with server(lambda request: web.Response(status=status, text=body, headers={"Location": "/"})) as url:
        with pytest.raises(AskError, match=text):
            await ask_prometheus(url, "q")


async def test_nobody_there_is_told_without_the_password() -> None:
    with pytest.raises(AskError) as caught:
        await ask_prometheus("http://user:hunter2@127.0.0.1:1/prom", "q")
    assert "hunter2" not in str(caught.value)
    assert shown("http://user:hunter2@host:1/prom?x=1") == "http://host:1/prom"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(vector("7"), 7.0, id="vector of one"),
        pytest.param('{"status":"success","data":{"resultType":"scalar","result":[1,"3.5"]}}', 3.5, id="scalar"),
        pytest.param(vector(), "gives 0 series", id="empty"),
        pytest.param(vector("1", "2"), "gives 2 series", id="several"),
        pytest.param(vector("NaN"), "would be NaN", id="nan"),
        pytest.param(vector("-1"), "would be -1", id="negative"),
        pytest.param(vector("abc"), "is no number", id="text"),
        pytest.param('{"status":"success","data":{"resultType":"matrix","result":[]}}', "gives a matrix", id="matrix"),
        pytest.param('{"status":"error","error":"busy"}', "busy", id="error"),
        pytest.param('{"status":"success","data":{"resultType":"scalar","result":[1]}}', "not one of", id="short"),
        pytest.param("[]", "not one of", id="not an object"),
    ],
)
def test_only_one_finite_number_is_a_demand(body: str, expected: float | str) -> None:
    if isinstance(expected, float):
        assert number_in(body.encode()) == expected
    else:
        with pytest.raises(AskError, match=expected):
            number_in(body.encode())


class _Clock:
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def loop_time(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


def asking(url: str | None) -> Fleet:
    fleet = make_fleet()
    demand = Demand(prometheus=url, query="q") if url is not None else Demand(value=5.0)
    return replace(fleet, services=(replace(fleet.services[0], demand=demand),))


def test_the_last_value_holds_for_a_minute_and_then_the_demand_is_unknown() -> None:
    async def story() -> None:
        said: list[DemandObserved] = []
        alarms = Alarms(lambda alert, now: None)
        answers: list[float | None] = [100.0]

        async def ask(url: str, query: str) -> float:
            assert (url, query) == ("http://prom", "q")
            if answers[0] is None:
                raise AskError("nobody there")
            return answers[0]

        demands = Demands(_Clock(), said.append, alarms, ask)
        running = asyncio.create_task(demands.run())
        await asyncio.sleep(20)
        assert said == []
        demands.configure(asking("http://prom"))
        await asyncio.sleep(40)
        assert said == [DemandObserved("chat", 100.0)]  # once: it did not change
        answers[0] = None
        await asyncio.sleep(50)
        assert len(said) == 1
        assert alarms.rows() == []
        await asyncio.sleep(40)
        assert said[1:] == [DemandObserved("chat", None)]
        assert "nobody there" in alarms.rows()[0]["text"]
        answers[0] = 120.0
        await asyncio.sleep(20)
        assert said[2:] == [DemandObserved("chat", 120.0)]
        assert alarms.rows() == []
        demands.configure(asking(None))  # a number from now on: what was observed no longer counts
        await asyncio.sleep(20)
        assert said[3:] == [DemandObserved("chat", None)]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run_virtual(story())


def test_a_server_that_never_answered_is_told_at_once() -> None:
    async def story() -> None:
        alarms = Alarms(lambda alert, now: None)

        async def ask(url: str, query: str) -> float:
            raise AskError("refused")

        demands = Demands(_Clock(), lambda event: None, alarms, ask)
        demands.configure(asking("http://prom"))
        running = asyncio.create_task(demands.run())
        await asyncio.sleep(1)
        assert [row["kind"] for row in alarms.rows()] == ["demand-unknown"]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run_virtual(story())
