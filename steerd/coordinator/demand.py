"""Demand: asks Prometheus what each service is asked for (`demand: {prometheus: URL, query: PROMQL}`).

Every coordinator asks, so that one that takes over knows. Nothing here decides: values enter the engine as `DemandObserved`.
A server that does not answer leaves the last value in force for a minute; then the demand is unknown, and an alert says why.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import msgspec

from steerd.coordinator.alarms import Alarms
from steerd.coordinator.clock import Clock
from steerd.core.events import DemandObserved
from steerd.model.fleet import Fleet

__all__ = ["Ask", "AskError", "Demands", "ask_prometheus", "number_in"]

EVERY_S = 15.0
WITHIN_S = 5.0
STALE_S = 60.0
ANSWER_BYTES = 65_536
_ACTION = "see `demand` in the config and that server; until it answers, no capacity limit holds for this service"


class AskError(Exception):
    """The demand could not be had; the text says why, without the URL's credentials."""


class Ask(Protocol):
    """One question: the value of `query` at the Prometheus server at `url`. Raises `AskError`."""

    async def __call__(self, url: str, query: str) -> float: ...


async def ask_prometheus(url: str, query: str) -> float:
    """Asks `/api/v1/query` under `url`; reads no more than `ANSWER_BYTES`, follows no redirect."""
    place = f"{url.rstrip('/')}/api/v1/query"
    timeout = aiohttp.ClientTimeout(total=WITHIN_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(place, params={"query": query}, allow_redirects=False) as answer,
        ):
            body = await answer.content.read(ANSWER_BYTES + 1)
            while len(body) <= ANSWER_BYTES and (more := await answer.content.read(ANSWER_BYTES + 1 - len(body))):
                body += more
            status = answer.status
    except TimeoutError as error:
        raise AskError(f"{shown(url)} did not answer within {WITHIN_S:g} s") from error
    except aiohttp.ClientError as error:
        raise AskError(f"{shown(url)}: {type(error).__name__}") from error
    except ValueError as error:
        raise AskError(f"{shown(url)} is no URL that can be asked") from error
    if len(body) > ANSWER_BYTES:
        raise AskError(f"{shown(url)} answered with more than {ANSWER_BYTES} bytes: the query must give one number")
    if status != 200:
        raise AskError(f"{shown(url)} answered {status}: {_why(body)}")
    return number_in(body)


def shown(url: str) -> str:
    """The URL without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class _Data(msgspec.Struct):
    resultType: str = ""  # noqa: N815 - Prometheus' own name
    result: list[object] = msgspec.field(default_factory=list)


class _Answer(msgspec.Struct):
    status: str = ""
    error: str = ""
    data: _Data | None = None


def number_in(body: bytes) -> float:
    """The one number in an answer of Prometheus: a scalar, or a vector of one series. Raises `AskError`."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except msgspec.MsgspecError as error:
        raise AskError("the answer is not one of Prometheus' API") from error
    if answer.status != "success" or answer.data is None:
        raise AskError(f"Prometheus says: {answer.error or answer.status or 'nothing'}"[:300])
    result = answer.data.result
    if answer.data.resultType == "vector":
        if len(result) != 1:
            raise AskError(f"the query gives {len(result)} series: it must give one (sum them)")
        series = result[0]
        value = series.get("value") if isinstance(series, dict) else None
    elif answer.data.resultType == "scalar":
        value = result
    else:
        raise AskError(
            f"the query gives a {answer.data.resultType or 'result without a type'}: it must give one number"
        )
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], str):
        raise AskError("the answer is not one of Prometheus' API")
    try:
        number = float(value[1])
    except ValueError as error:
        raise AskError(f"{value[1][:50]!r} is no number") from error
    if not math.isfinite(number) or number < 0:
        raise AskError(f"the demand would be {value[1]}")
    return number


def _why(body: bytes) -> str:
    try:
        return (msgspec.json.decode(body, type=_Answer).error or "no reason given")[:300]
    except msgspec.MsgspecError:
        return "no reason given"


class Demands:
    """Asks for the demand of every service that has a query, each 15 s. `run` it; `configure` it anew after a reload."""

    def __init__(self, clock: Clock, post: Callable[[DemandObserved], None], alarms: Alarms, ask: Ask) -> None:
        self._clock = clock
        self._post = post
        self._alarms = alarms
        self._ask = ask
        self._queries: dict[str, tuple[str, str]] = {}
        self._known: dict[str, tuple[float, float]] = {}
        self._failing: dict[str, float] = {}
        self._changed = asyncio.Event()

    def configure(self, fleet: Fleet) -> None:
        """Takes the queries of a config. What is no longer asked for is no longer said."""
        queries = {
            s.name: (s.demand.prometheus, s.demand.query)
            for s in fleet.services
            if s.demand is not None and s.demand.prometheus is not None and s.demand.query is not None
        }
        for service in [s for s in self._queries if queries.get(s) != self._queries[s]]:
            if self._known.pop(service, None) is not None and service in fleet.service_by_name:
                self._post(DemandObserved(service, None))
            self._failing.pop(service, None)
            self._alarms.clear("demand-unknown", service, self._clock.now())
        self._queries = queries
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            if not self._queries:
                await self._changed.wait()
                continue
            await asyncio.gather(*(self._look(s, *q) for s, q in sorted(self._queries.items())))
            waits = {asyncio.ensure_future(self._clock.sleep(EVERY_S)), asyncio.ensure_future(self._changed.wait())}
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    async def _look(self, service: str, url: str, query: str) -> None:
        try:
            value = await self._ask(url, query)
        except AskError as error:
            self._failed(service, (url, query), str(error))
            return
        if self._queries.get(service) != (url, query):
            return  # a reload came in between
        now = self._clock.now()
        self._failing.pop(service, None)
        self._alarms.clear("demand-unknown", service, now)
        known = self._known.get(service)
        self._known[service] = (value, now)
        if known is None or known[0] != value:
            self._post(DemandObserved(service, value))

    def _failed(self, service: str, query: tuple[str, str], why: str) -> None:
        if self._queries.get(service) != query:
            return
        now = self._clock.now()
        since = self._failing.setdefault(service, now)
        if now - since < STALE_S and service in self._known:
            return
        self._alarms.set("demand-unknown", service, f"the demand of {service} is unknown: {why}", _ACTION, now)
        if self._known.pop(service, None) is not None:
            self._post(DemandObserved(service, None))
