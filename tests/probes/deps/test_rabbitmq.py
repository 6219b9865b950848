"""`rabbitmq` against a real broker: one for all of these tests, for it takes seconds to start."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import web

from probes.outcome import Outcome, Status
from probes.registry import make
from tests.support.looking import Look
from tests.support.rabbitmq_server import RabbitMq
from tests.support.servers import free_port
from tests.support.wait import until_sync

pytestmark = [pytest.mark.server("rabbitmq-server"), pytest.mark.slow]


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitMq]:
    with RabbitMq() as server:
        for queue in ("jobs", "still/ü", "dead"):
            server.declare(queue)
        for age_s in (500, 100, 0):
            server.publish("jobs", timestamp=int(time.time()) - age_s)
        server.publish("still/ü")
        server.publish("dead")
        for queue, count in (("jobs", 3), ("still%2F%C3%BC", 1), ("dead", 1)):
            shows(server, queue, count)
        yield server


@pytest.fixture
def ask(look: Look, broker: RabbitMq) -> Callable[..., Any]:
    async def once(user: str = "guest", word: str = "guest", **settings: Any) -> Outcome:
        login = {"user": user, "password": ("ref", word)}
        return await look("rabbitmq", broker.url, {**login, **settings}, within_s=10, resolve=lambda ref: str(ref[1]))

    return once


def shows(broker: RabbitMq, queue: str, count: int) -> None:
    """Wait until the management database knows of `count` messages: it is a few seconds behind."""
    path = f"api/queues/%2F/{queue}"
    until_sync(lambda: (broker.call("GET", path) or {}).get("messages") == count, 15)


async def test_a_broker_and_a_queue(ask: Callable[..., Any], broker: RabbitMq) -> None:
    outcome = await ask()
    assert (outcome.status, outcome.readings) == (Status.PASS, {}), outcome
    assert (await ask(slow=1e-9)).status is Status.SLOW
    outcome = await ask(queue="jobs")
    assert (outcome.status, outcome.readings["depth"], outcome.readings["consumers"]) == (Status.PASS, 3, 0), outcome
    assert 500 <= outcome.readings["oldest_age_s"] < 560
    outcome = await ask(queue="jobs", max_depth=2)
    assert (outcome.status, outcome.reason) == (Status.SATURATED, "too many messages wait"), outcome
    outcome = await ask(queue="jobs", max_depth=2, max_age=60.0)
    assert (outcome.status, outcome.reason) == (Status.FAIL, "the oldest message waits too long"), outcome
    assert "no consumer" in (outcome.detail or "")


async def test_a_queue_that_stands_still_without_stamps(ask: Callable[..., Any], broker: RabbitMq) -> None:
    assert "oldest_age_s" not in (await ask(queue="still/ü")).readings  # the first look cannot know
    first = (await ask(queue="still/ü")).readings["oldest_age_s"]
    assert 0 < first < (await ask(queue="still/ü")).readings["oldest_age_s"] < 60
    outcome = await ask(queue="still/ü", max_age=0.001)
    outcome = await ask(queue="still/ü", max_age=0.001)
    assert (outcome.status, "at least" in (outcome.detail or "")) == (Status.FAIL, True), outcome


async def test_dead_letters_that_grow(ask: Callable[..., Any], broker: RabbitMq) -> None:
    settings = {"dead_letters": "dead", "dead_letters_for": 60.0}
    assert (await ask(**settings)).readings["dead_letters"] == 1
    broker.publish("dead")
    shows(broker, "dead", 2)
    outcome = await ask(**settings)
    assert (outcome.status, outcome.reason) == (Status.FAIL, "dead letters grow"), outcome


async def test_what_never_was_blames_nobody_and_what_is_gone_fails(ask: Callable[..., Any], broker: RabbitMq) -> None:
    outcome = await ask(queue="brief")
    assert (outcome.status, outcome.reason) == (Status.ERROR, "there is no queue 'brief'"), outcome
    broker.declare("brief")
    assert (await ask(queue="brief")).status is Status.PASS
    broker.call("DELETE", "api/queues/%2F/brief")
    outcome = await ask(queue="brief")
    assert (outcome.status, outcome.reason) == (Status.FAIL, "queue 'brief' is gone"), outcome


async def test_logins(ask: Callable[..., Any], broker: RabbitMq, look: Look) -> None:
    outcome = await ask(word="wrong-word")
    assert (outcome.status, outcome.reason) == (Status.ERROR, "HTTP 401: credentials refused"), outcome
    assert "wrong-word" not in str(outcome)
    broker.call("PUT", "api/users/app", {"password": "app-word", "tags": ""})
    outcome = await ask(user="app", word="app-word")
    assert (outcome.status, "monitoring" in (outcome.detail or "")) == (Status.ERROR, True), outcome
    broker.call("PUT", "api/users/app", {"password": "app-word", "tags": "monitoring"})
    assert (await ask(user="app", word="app-word")).status is Status.PASS
    dsn = f"http://guest:guest@127.0.0.1:{broker.api}"
    assert (await look("rabbitmq", "", {"dsn": ("ref",)}, within_s=10, resolve=lambda _: dsn)).status is Status.PASS


async def test_nobody_there_and_nobody_answering(look: Look, broker: RabbitMq) -> None:
    outcome = await look("rabbitmq", f"http://127.0.0.1:{free_port()}")
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "connection refused", True)
    with broker.process.paused():
        outcome = await look("rabbitmq", broker.url, within_s=0.3)
        assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "no answer in time", True), outcome


async def test_an_alarm_blocks_publishers(ask: Callable[..., Any], broker: RabbitMq, look: Look, site: Any) -> None:
    async def alarmed(_: web.Request) -> web.Response:
        alarms = [{"node": "rabbit@a", "resource": "memory"}]
        return web.json_response({"status": "failed", "reason": "alarms", "alarms": alarms}, status=503)

    # What 3.10 says with an alarm, as its documentation has it: raising one for real starves this host's disk.
    outcome = await look("rabbitmq", await site({"/api/health/checks/alarms": alarmed}))
    assert (outcome.status, outcome.reason) == (Status.SATURATED, "an alarm of the broker blocks publishers"), outcome
    assert "memory on rabbit@a" in (outcome.detail or "")
    outcome = await look("rabbitmq", await site({}))
    assert (outcome.status, outcome.reason) == (Status.ERROR, "no management API answers here"), outcome


def test_settings_that_cannot_be() -> None:
    for settings, needle in (({"max_depth": 3}, "queue"), ({"url": "amqp://h"}, "http://")):
        with pytest.raises(ValueError, match=needle):
            make("rabbitmq", "dependency", settings, str)
