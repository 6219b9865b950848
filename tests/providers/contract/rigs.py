"""What the contract suite needs to know of each system: how to make a route, and how to look at it from outside."""

from __future__ import annotations

import itertools
import json
import re
import socket
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from steerd.model.fleet import Fleet, ProviderSpec, Secret
from steerd.model.route import Desired, Fence, Member, Route, Target
from steerd.providers import registry
from steerd.providers.base import Context, Provider, Unreachable
from steerd.providers.beacon.client import Beacon
from steerd.providers.memory import Fault, Memory, System
from tests.support import dnsclient
from tests.support.haproxy import HAProxy
from tests.support.named import Named
from tests.support.pdns import Pdns
from tests.support.servers import free_port

ZONES = ("za", "zb", "zc")
ADDRESSES = {"za": "192.0.2.1", "zb": "192.0.2.2", "zc": "192.0.2.3"}
ZONE = "acme.example"
BACKENDS = 24


def context(kind: str, settings: dict[str, Any], secret: str = "") -> Context:
    return Context(Fleet(name="acme"), ProviderSpec("it", kind, settings=settings), lambda _: secret)


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


class Rig(ABC):
    """One system under the contract."""

    kind: str
    top = 100
    """A large weight; 1 with membership."""
    shared = True
    """Somebody else can write there too."""

    def __init__(self) -> None:
        self._fences = itertools.count(1)
        self._names = itertools.count(1)

    @property
    def capabilities(self) -> Any:
        return registry.CAPABILITIES[self.kind]

    @abstractmethod
    def provider(self) -> Provider: ...

    @abstractmethod
    def serving(self, route: Route) -> set[str]:
        """Targets now in service, asked of the system itself and not of the provider."""

    def fence(self, epoch: int = 1) -> Fence:
        return Fence("acme", epoch, next(self._fences), "p")

    def route(self) -> Route:
        """A route nobody has written yet."""
        name = f"r{next(self._names)}.{ZONE}"
        targets = tuple(Target(z, (f"e-{z}",), {f"e-{z}": (ADDRESSES[z],)}) for z in ZONES)
        return Route(key=f"it/{name}", service="chat", provider="it", name=name, per="zone", targets=targets)

    def missing(self) -> Route:
        """A route whose record or backend does not exist."""
        name = f"missing.{ZONE}"
        return Route(key="it/x", service="chat", provider="it", name=name, per="zone", targets=(Target("za", ("e",)),))

    def desired(self, route: Route, weights: dict[str, int]) -> Desired:
        return Desired(
            tuple(Member(z, min(w, self.top), (ADDRESSES[z],) if w else ()) for z, w in sorted(weights.items()))
        )

    @contextmanager
    def mute(self) -> Iterator[Provider]:
        """A provider whose system does not answer."""
        raise NotImplementedError

    def add_foreign(self, route: Route) -> None:
        raise NotImplementedError

    def has_foreign(self, route: Route) -> bool:
        raise NotImplementedError

    def outsider_removes(self, route: Route, target: str) -> None:
        """Somebody takes a target out behind steerd's back."""
        raise NotImplementedError


class MemoryRig(Rig):
    kind = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.system = System()

    def provider(self) -> Provider:
        return Memory(self.system)

    def serving(self, route: Route) -> set[str]:
        record = self.system.records.get(route.name)
        return {t for t, m in record.members.items() if m.weight > 0 and t in ZONES} if record else set()

    @contextmanager
    def mute(self) -> Iterator[Provider]:
        fault = Fault(Unreachable("no answer"))
        system = System()
        system.reads.append(fault)
        yield Memory(system)

    def add_foreign(self, route: Route) -> None:
        self.system.edit(route.name, {"foreign": 5})

    def has_foreign(self, route: Route) -> bool:
        return self.system.records[route.name].members["foreign"].weight == 5

    def outsider_removes(self, route: Route, target: str) -> None:
        self.system.edit(route.name, {target: 0})


class EmbeddedRig(Rig):
    kind = "embedded"
    shared = False

    def __init__(self) -> None:
        super().__init__()
        self.port = 0

    def provider(self) -> Provider:
        self.port = free_port()
        return registry.build(context("embedded", {"zone": ZONE, "listen": f"127.0.0.1:{self.port}", "answers": 3}))

    def serving(self, route: Route) -> set[str]:
        found = dnsclient.values("127.0.0.1", self.port, route.name)
        return {z for z in ZONES if ADDRESSES[z] in found}

    @contextmanager
    def mute(self) -> Iterator[Provider]:
        yield self.provider()  # never opened: nothing listens


class BindRig(Rig):
    kind = "rfc2136"
    top = 1

    def __init__(self, named: Named) -> None:
        super().__init__()
        self.named = named

    def settings(self) -> dict[str, Any]:
        return {
            "server": self.named.server,
            "zone": self.named.zone,
            "key": self.named.key,
            "secret": Secret("env", "TSIG"),
        }

    def provider(self) -> Provider:
        return registry.build(context("rfc2136", self.settings(), self.named.secret))

    def serving(self, route: Route) -> set[str]:
        found = self.named.query(route.name)
        return {z for z in ZONES if ADDRESSES[z] in found}

    @contextmanager
    def mute(self) -> Iterator[Provider]:
        with black_hole() as port:
            yield registry.build(
                context("rfc2136", {**self.settings(), "server": f"127.0.0.1:{port}"}, self.named.secret)
            )

    def add_foreign(self, route: Route) -> None:
        self.named.add(route.name, "A", "198.51.100.77")

    def has_foreign(self, route: Route) -> bool:
        return "198.51.100.77" in self.named.query(route.name)

    def outsider_removes(self, route: Route, target: str) -> None:
        self.named.remove(route.name, "A", ADDRESSES[target])


class PowerDNSRig(Rig):
    """`lua` False: by membership."""

    kind = "powerdns"

    def __init__(self, pdns: Pdns, *, lua: bool) -> None:
        super().__init__()
        self.pdns, self.lua = pdns, lua
        self.top = 100 if lua else 1

    def settings(self) -> dict[str, Any]:
        return {
            "url": self.pdns.url,
            "zone": self.pdns.zone,
            "api_key": Secret("env", "PDNS"),
            "verify": (self.pdns.server,),
            "lua": self.lua,
        }

    def provider(self) -> Provider:
        return registry.build(context("powerdns", self.settings(), self.pdns.api_key))

    def route(self) -> Route:
        made = super().route()
        name = f"{'lua' if self.lua else 'plain'}-{made.name}"
        return replace(made, name=name, key=f"it/{name}")

    def serving(self, route: Route) -> set[str]:
        # A weighted answer is one address: what may be drawn stands in the record.
        texts = self.pdns.contents(route.name, "LUA") if self.lua else self.pdns.query(route.name)
        assert self.pdns.query(route.name), "an answer without any address"
        return {z for z in ZONES if any(re.search(rf"{re.escape(ADDRESSES[z])}\b", t) for t in texts)}

    @contextmanager
    def mute(self) -> Iterator[Provider]:
        with black_hole() as port:
            settings = {**self.settings(), "url": f"http://127.0.0.1:{port}"}
            yield registry.build(context("powerdns", settings, self.pdns.api_key))

    def add_foreign(self, route: Route) -> None:
        if not self.lua:
            self.pdns.put(route.name, "A", [*self.pdns.contents(route.name, "A"), "198.51.100.77"])
            return
        [text] = self.pdns.contents(route.name, "LUA")
        self.pdns.put(route.name, "LUA", [text.replace("pickwrandom({", "pickwrandom({{7, '198.51.100.77'}, ")])

    def has_foreign(self, route: Route) -> bool:
        return "{7,'198.51.100.77'}" in self.pdns.contents(route.name, "LUA")[0] if self.lua else (
            "198.51.100.77" in self.pdns.query(route.name)
        )  # fmt: skip

    def outsider_removes(self, route: Route, target: str) -> None:
        address = ADDRESSES[target]
        if not self.lua:
            self.pdns.put(route.name, "A", [c for c in self.pdns.contents(route.name, "A") if c != address])
            return
        [text] = self.pdns.contents(route.name, "LUA")
        self.pdns.put(
            route.name, "LUA", [re.sub(rf"\{{\d+,'{re.escape(address)}'\}},?", "", text).replace(",})", "})")]
        )


class EnvoyRig(Rig):
    """What the discovery service would give to an Envoy that asks; `path` True: what stands in the file."""

    kind = "envoy"

    def __init__(self, directory: Path, *, path: bool) -> None:
        super().__init__()
        self.directory, self.path, self.port = directory, path, 0
        self.shared = path

    def provider(self) -> Provider:
        if self.path:
            return registry.build(context("envoy", {"path": str(self.directory / "{name}.json")}))
        self.port = free_port()
        return registry.build(context("envoy", {"listen": f"127.0.0.1:{self.port}"}))

    def desired(self, route: Route, weights: dict[str, int]) -> Desired:
        made = super().desired(route, weights)
        return Desired(tuple(replace(m, values=tuple(f"{v}:8000" for v in m.values)) for m in made.members))

    def route(self) -> Route:
        made = super().route()
        targets = tuple(Target(z, (f"e-{z}",), {f"e-{z}": (f"{ADDRESSES[z]}:8000",)}) for z in ZONES)
        return replace(made, targets=targets)

    def file(self, route: Route) -> Path:
        return self.directory / f"{route.name}.json"

    def assignment(self, route: Route) -> Any:
        if self.path:
            return json.loads(self.file(route).read_text())["resources"][0]
        body = json.dumps({"resource_names": [route.name]}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v3/discovery:endpoints", body)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)["resources"][0]

    def serving(self, route: Route) -> set[str]:
        entries = [e for e in self.assignment(route)["endpoints"] if e.get("load_balancing_weight", 0) > 0]
        hosts = [h for e in entries for h in e["lb_endpoints"] if h.get("health_status") != "DRAINING"]
        found = {h["endpoint"]["address"]["socket_address"]["address"] for h in hosts}
        return {z for z in ZONES if ADDRESSES[z] in found}

    @contextmanager
    def mute(self) -> Iterator[Provider]:
        yield self.provider()  # never opened: nothing listens

    def _edit(self, route: Route, edit: Callable[[Any], None]) -> None:
        data = json.loads(self.file(route).read_text())
        edit(data["resources"][0]["endpoints"])
        self.file(route).write_text(json.dumps(data))

    def add_foreign(self, route: Route) -> None:
        host = {"endpoint": {"address": {"socket_address": {"address": "198.51.100.77", "port_value": 80}}}}
        self._edit(
            route, lambda e: e.append({"locality": {"zone": "zx"}, "load_balancing_weight": 7, "lb_endpoints": [host]})
        )

    def has_foreign(self, route: Route) -> bool:
        [entry] = [e for e in self.assignment(route)["endpoints"] if e["locality"].get("zone") == "zx"]
        return bool(entry["load_balancing_weight"] == 7 and "198.51.100.77" in str(entry))

    def outsider_removes(self, route: Route, target: str) -> None:
        self._edit(
            route, lambda entries: entries.pop(next(i for i, e in enumerate(entries) if ADDRESSES[target] in str(e)))
        )


class BeaconRig(Rig):
    """What the provider was told; `/beacon/NAME` itself is tested with the coordinator."""

    kind = "beacon"
    top = 1
    shared = False

    def provider(self) -> Provider:
        made = registry.build(context("beacon", {}))
        assert isinstance(made, Beacon)
        self.made = made
        return made

    def serving(self, route: Route) -> set[str]:
        lit = self.made._lit.get(route.key)
        return {t for t, on in lit.names.items() if on} if lit else set()


class HAProxyRig(Rig):
    kind = "haproxy"

    def __init__(self, directory: Path) -> None:
        super().__init__()
        servers = {z: (f"127.0.0.1:{9000 + i}", 10) for i, z in enumerate((*ZONES, "foreign"))}
        self.haproxy = HAProxy(directory, {f"r{n}": servers for n in range(1, BACKENDS + 1)})

    def provider(self) -> Provider:
        return registry.build(context("haproxy", {"socket": f"unix:{self.haproxy.admin}"}))

    def route(self) -> Route:
        name = f"r{next(self._names)}"
        targets = tuple(Target(z, (f"e-{z}",)) for z in ZONES)
        return Route(key=f"it/{name}", service="chat", provider="it", name=name, per="zone", targets=targets)

    def serving(self, route: Route) -> set[str]:
        return {s for s, w in self.haproxy.weights(route.name).items() if w > 0 and s in ZONES}

    @contextmanager
    def mute(self) -> Iterator[Provider]:
        with black_hole() as port:
            yield registry.build(context("haproxy", {"socket": f"127.0.0.1:{port}"}))

    def add_foreign(self, route: Route) -> None:
        self.haproxy.command(f"set server {route.name}/foreign weight 33")

    def has_foreign(self, route: Route) -> bool:
        return self.haproxy.weights(route.name)["foreign"] == 33

    def outsider_removes(self, route: Route, target: str) -> None:
        self.haproxy.command(f"set server {route.name}/{target} state drain")
