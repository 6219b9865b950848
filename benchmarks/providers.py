"""How long a decision takes to a real system: from the moment it is handed to the provider until the system answers by it.

Each of 20 runs per provider drains a zone or brings it back. `accepted` is when the write was taken (read, translated, compared,
written), `authoritative` when a client that asks all the time gets the first answer that fits. The decision is stored before that,
and verified after; neither is in here. Everything runs on this host, so a network's round trips come on top: 2 to 5 per write.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steerd.model.fleet import Fleet, ProviderSpec, Secret
from steerd.model.route import Desired, Fence, Member, Route, Target
from steerd.providers import registry
from steerd.providers.base import Context, Provider
from tests.support import dnsclient
from tests.support.dynamic_dns import DynamicServer
from tests.support.envoy import Envoy
from tests.support.haproxy import HAProxy
from tests.support.knot import Knot
from tests.support.model_row import ModelRow
from tests.support.named import Named
from tests.support.pdns import Pdns
from tests.support.servers import free_port

RUNS = 20
GIVE_UP_S = 20.0
SPREAD_S = 1.6
"""Runs on a system that polls begin at points spread evenly over this time: where a change falls decides how long it waits."""
ZONES = ("za", "zb", "zc")
ADDRESS = {"za": "192.0.2.1", "zb": "192.0.2.2", "zc": "192.0.2.3"}
NAME = "chat.acme.example"
ZONE = "acme.example"
SEQ = itertools.count(1)


@dataclass(frozen=True)
class Subject:
    """One provider on its real system. `fits(zones)` asks the system itself whether these serve, and no others."""

    provider: Provider
    route: Route
    fits: Callable[[set[str]], bool]


def make(kind: str, settings: dict[str, Any], secret: str = "") -> Provider:
    return registry.build(Context(Fleet(name="acme"), ProviderSpec("it", kind, settings=settings), lambda _: secret))


def dns_route() -> Route:
    targets = tuple(Target(z, (z,), {z: (a,)}) for z, a in ADDRESS.items())
    return Route(key=f"it/{NAME}", service="chat", provider="it", name=NAME, per="zone", targets=targets, ttl_s=5.0)


def backend_route() -> Route:
    targets = tuple(Target(z, (z,), {z: (f"127.0.0.1:{9001 + i}",)}, server=z) for i, z in enumerate(ZONES))
    return Route(key="it/chat", service="chat", provider="it", name="chat", per="zone", targets=targets)


def answers(port: int) -> Callable[[set[str]], bool]:
    """By membership the whole answer counts."""
    return lambda zones: set(dnsclient.values("127.0.0.1", port, NAME)) == {ADDRESS[z] for z in zones}


def draws(port: int) -> Callable[[set[str]], bool]:
    """Weighted answers are drawn, so it is the fence that tells: it changes with them."""
    seen: list[list[str]] = [[]]

    def fits(_: set[str]) -> bool:
        now = dnsclient.values("127.0.0.1", port, f"_steerd.{NAME}", "TXT")
        changed, seen[0] = now != seen[0], now
        return changed

    return fits


@asynccontextmanager
async def embedded(_: Path) -> AsyncIterator[Subject]:
    port = free_port()
    yield Subject(make("embedded", {"zone": ZONE, "listen": f"127.0.0.1:{port}"}), dns_route(), draws(port))


def dynamic(kind: type[Named] | type[Knot]) -> Callable[[Path], Any]:
    @asynccontextmanager
    async def opened(folder: Path) -> AsyncIterator[Subject]:
        server: DynamicServer = kind(folder)
        with server:
            keys = {"server": server.server, "zone": ZONE, "key": server.key, "secret": Secret("env", "K")}
            yield Subject(make("rfc2136", keys, server.secret), dns_route(), answers(server.port))

    return opened


def powerdns(*, lua: bool) -> Callable[[Path], Any]:
    @asynccontextmanager
    async def opened(folder: Path) -> AsyncIterator[Subject]:
        with Pdns(folder) as server:
            keys = {
                "url": server.url,
                "zone": ZONE,
                "api_key": Secret("env", "K"),
                "verify": (server.server,),
                "lua": lua,
            }
            fits = draws(server.port) if lua else answers(server.port)
            yield Subject(make("powerdns", keys, server.api_key), dns_route(), fits)

    return opened


def haproxy(*, agent: bool) -> Callable[[Path], Any]:
    @asynccontextmanager
    async def opened(folder: Path) -> AsyncIterator[Subject]:
        port = free_port()
        with ModelRow(*ZONES) as row, ExitStack() as stack:
            backends = {"chat": {z: (row.address[z], 100) for z in ZONES}}
            server = stack.enter_context(HAProxy(folder, backends, agent_port=port if agent else None))
            keys = {"agent": f"127.0.0.1:{port}"} if agent else {"socket": f"unix:{server.admin}"}
            serving = lambda zones: {s for s, w in server.weights("chat").items() if w} == zones  # noqa: E731
            yield Subject(make("haproxy", keys), backend_route(), serving)

    return opened


def envoy(*, file: bool) -> Callable[[Path], Any]:
    @asynccontextmanager
    async def opened(folder: Path) -> AsyncIterator[Subject]:
        port = free_port()
        eds = Envoy.file(folder / "chat.json") if file else Envoy.rest(port, refresh="0.5s")
        keys = {"path": str(folder / "{name}.json")} if file else {"listen": f"127.0.0.1:{port}"}
        provider, route = make("envoy", keys), backend_route()
        await provider.open()  # Envoy waits for its first assignment before it listens
        await write(provider, route, set(ZONES))
        server = Envoy(folder, eds)
        await asyncio.to_thread(server.start)
        names = {f"127.0.0.1:{9001 + i}": z for i, z in enumerate(ZONES)}
        serving = lambda zones: {names[a] for a, h in server.hosts().items() if not h["draining"]} == zones  # noqa: E731
        try:
            yield Subject(provider, route, serving)
        finally:
            await asyncio.to_thread(server.stop)

    return opened


SUBJECTS: dict[str, Callable[[Path], Any]] = {
    "embedded": embedded,
    "rfc2136 on BIND 9": dynamic(Named),
    "rfc2136 on Knot": dynamic(Knot),
    "powerdns, LUA weights": powerdns(lua=True),
    "powerdns, membership": powerdns(lua=False),
    "haproxy, runtime API": haproxy(agent=False),
    "haproxy, agent-check every 50 ms": haproxy(agent=True),
    "envoy, REST, refresh_delay 0.5 s": envoy(file=False),
    "envoy, file": envoy(file=True),
}


async def write(provider: Provider, route: Route, zones: set[str]) -> float:
    """Seconds until the write was taken."""
    began = time.perf_counter()
    end = asyncio.get_running_loop().time() + GIVE_UP_S
    values = {t.key: tuple(v for vs in t.values.values() for v in vs) for t in route.targets}
    members = (Member(z, 1, values[z]) if z in zones else Member(z, 0) for z in ZONES)
    observed = await provider.read(route, end)
    change = provider.translate(route, Desired(tuple(members)), observed, Fence("acme", 1, next(SEQ), "p"))
    await provider.apply(change, end)
    return time.perf_counter() - began


def watch(fits: Callable[[set[str]], bool], zones: set[str], began: float) -> float:
    """Seconds until the system answers as it should, asked over and over from a thread."""
    while time.perf_counter() - began < GIVE_UP_S:
        if fits(zones):
            return time.perf_counter() - began
        time.sleep(0.0005)
    raise AssertionError("the system never answered as decided")


async def measure(name: str) -> tuple[list[float], list[float]]:
    """Seconds to accepted and to authoritative, per run."""
    accepted, authoritative = [], []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="b")))
        subject: Subject = await stack.enter_async_context(SUBJECTS[name](folder))
        if not name.startswith("envoy"):
            await subject.provider.open()
        stack.push_async_callback(subject.provider.close)
        await write(subject.provider, subject.route, set(ZONES))
        await asyncio.to_thread(watch, subject.fits, set(ZONES), time.perf_counter())
        for run_ in range(RUNS):
            zones = set(ZONES) - ({"za"} if run_ % 2 == 0 else set())
            await asyncio.sleep(run_ / RUNS * SPREAD_S if "REST" in name else 0.0)
            began = time.perf_counter()
            watching = asyncio.create_task(asyncio.to_thread(watch, subject.fits, zones, began))
            accepted.append(await write(subject.provider, subject.route, zones))
            authoritative.append(await watching)
    return accepted, authoritative


def run(_options: Sequence[str] = ()) -> None:
    """Prints a line per provider: medians, and the slowest of all runs."""
    print(f"  {'provider':34} {'accepted':>10} {'authoritative':>14} {'slowest':>10}   medians of {RUNS}, ms")
    for name in SUBJECTS:
        accepted, authoritative = asyncio.run(measure(name))
        figures = (statistics.median(accepted), statistics.median(authoritative), max(authoritative))
        print(f"  {name:34} {figures[0] * 1000:10.1f} {figures[1] * 1000:14.1f} {figures[2] * 1000:10.1f}", flush=True)
