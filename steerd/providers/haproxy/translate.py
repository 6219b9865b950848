"""From the state of a backend's servers and a desired state to runtime API commands. Pure.

A target at weight 0 is put into state `drain` and keeps its weight; `drain` keeps health checks running, which `maint`
would stop. A server somebody put into `maint` by hand stays there: steerd sets its weight and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from steerd.model.route import Desired, Fence, Observed, Route
from steerd.providers.base import Change, Misconfigured, Refused

__all__ = [
    "WEIGHT_MAX",
    "Commands",
    "Server",
    "differences",
    "observed_from",
    "parse_state",
    "server_name",
    "translate",
]

WEIGHT_MAX = 256
"""The largest weight HAProxy takes (management guide, `set weight`)."""

DRAIN = 0x08 | 0x10
"""srv_admin_state bits: drain forced, drain inherited (management guide, `show servers state`)."""

MAINT = 0x01 | 0x02 | 0x20 | 0x40
"""Maintenance: forced, inherited, by name resolution, by an address conflict. (0x04 only remembers a `disabled` in
haproxy.cfg and stays set when the server is made ready.)"""

COLUMNS = ("be_name", "srv_name", "srv_admin_state", "srv_uweight")


@dataclass(frozen=True, slots=True)
class Server:
    """One server line: its user weight and whether it is drained or in maintenance."""

    weight: int
    drained: bool = False
    maint: bool = False

    @property
    def carries(self) -> int:
        """The weight it takes new traffic with."""
        return 0 if self.drained or self.maint else self.weight


@dataclass(frozen=True, slots=True)
class Commands:
    """The payload of a change: `more` must succeed before `less` is sent, so that the backend is never empty.

    `seen` are the servers as read; `apply` compares them right before it writes. `keep` are the servers that carry traffic once
    `more` is done; `apply` looks at them again before it sends `less`.
    """

    backend: str
    seen: Mapping[str, Server]
    more: tuple[str, ...]
    less: tuple[str, ...]
    keep: tuple[str, ...] = ()


def parse_state(text: str, backend: str) -> dict[str, Server]:
    """Server name -> state, from the answer to `show servers state BACKEND`. Raises ValueError."""
    lines = text.split("\n")
    header = next((line for line in lines if line.startswith("# ")), None)
    if header is None:
        raise ValueError(f"no column line in {text[:80]!r}")
    columns = header[2:].split()
    if missing := [c for c in COLUMNS if c not in columns]:
        raise ValueError(f"no column {', '.join(missing)} in `show servers state`")
    where = {c: columns.index(c) for c in COLUMNS}
    servers = {}
    for line in lines[lines.index(header) + 1 :]:
        cells = line.split()
        if len(cells) <= max(where.values()) or cells[where["be_name"]] != backend:
            continue
        bits = int(cells[where["srv_admin_state"]])
        servers[cells[where["srv_name"]]] = Server(
            weight=int(cells[where["srv_uweight"]]), drained=bool(bits & DRAIN), maint=bool(bits & MAINT)
        )
    return servers


def server_name(route: Route, target: str) -> str:
    """The server a target is known by: the route's `servers`, else the target's own name."""
    for candidate in route.targets:
        if candidate.key == target:
            return candidate.server or candidate.key
    return target


def observed_from(route: Route, servers: Mapping[str, Server] | None, fence: Fence | None) -> Observed:
    """What the servers mean for the route's targets. `servers` is None where there is no such backend."""
    if servers is None:
        return Observed(weights={t.key: 0 for t in route.targets}, exists=False)
    names = {t.key: server_name(route, t.key) for t in route.targets}
    return Observed(
        weights={key: servers[name].carries if name in servers else 0 for key, name in names.items()},
        values={key: (name,) for key, name in names.items() if name in servers},
        fence=fence,
        foreign=tuple(sorted(set(servers) - set(names.values()))),
        token=dict(servers),
    )


def differences(route: Route, desired: Desired, servers: Mapping[str, Server]) -> list[str]:
    """What is not as desired, one line each: `chat/s1 has weight 40, not 60`."""
    found = []
    for member in desired.members:
        name = server_name(route, member.target)
        server = servers.get(name)
        carries = server.carries if server else 0
        if carries == member.weight:
            continue
        if server is None:
            found.append(f"{route.name}/{name} does not exist")
        elif server.maint:
            found.append(
                f"{route.name}/{name} is in maintenance, set outside of steerd: end it with"
                f" `set server {route.name}/{name} state ready`"
            )
        else:
            found.append(f"{route.name}/{name} carries weight {carries}, not {member.weight}")
    return found


def translate(route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
    """The commands that turn `observed` into `desired`.

    Raises ValueError on an empty state or a weight out of range; `Misconfigured` when a server to be in service does
    not exist; `Refused` when all of them are in maintenance.
    """
    if desired.empty:
        raise ValueError(f"{route.key}: a state in which nothing is served is never written")
    servers: Mapping[str, Server] = observed.token if isinstance(observed.token, dict) else {}
    if not servers:
        raise Misconfigured(
            f"{route.key}: HAProxy has no backend {route.name!r} with servers", "compare `backend` with haproxy.cfg"
        )
    more, less, keep = [], [], []
    for member in desired.members:
        if not 0 <= member.weight <= WEIGHT_MAX:
            raise ValueError(f"{route.key}: weight {member.weight} of {member.target} is not from 0 to {WEIGHT_MAX}")
        name = server_name(route, member.target)
        server = servers.get(name)
        if server is None:
            if member.weight > 0:
                raise _no_server(route, name, servers)
            continue
        up, down = _commands(f"{route.name}/{name}", server, member.weight)
        more += up
        less += down
        if member.weight > 0 and not server.maint:
            keep.append(name)
    if not keep:
        raise Refused(
            f"{route.key}: every server of {route.name} that should serve is in maintenance, set outside of steerd",
            "end the maintenance of one: `set server BACKEND/SERVER state ready`",
        )
    return Change(
        route=route.key,
        desired=desired,
        fence=fence,
        payload=Commands(route.name, servers, tuple(more), tuple(less), tuple(keep)),
        nothing=not more and not less,
        summary="; ".join(c.removeprefix("set server ") for c in (*more, *less)) or f"{route.name}: unchanged",
    )


def _commands(where: str, server: Server, weight: int) -> tuple[list[str], list[str]]:
    """(commands that add capacity, commands that take it away) for one server."""
    if weight == 0:
        return [], [] if server.carries == 0 else [f"set server {where} state drain"]
    change = [f"set server {where} weight {weight}"] if server.weight != weight else []
    if server.drained:
        # The weight goes first, or the server would come back at the weight it had before.
        return [*change, *([] if server.maint else [f"set server {where} state ready"])], []
    return (change, []) if weight > server.weight else ([], change)


def _no_server(route: Route, name: str, servers: Mapping[str, Server]) -> Misconfigured:
    return Misconfigured(
        f"{route.key}: backend {route.name} has no server {name!r}; it has {', '.join(sorted(servers)) or 'none'}",
        "map the route's targets to HAProxy's names: `servers: {ENDPOINT: SERVER}`",
    )
