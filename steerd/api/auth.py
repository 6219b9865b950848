"""Who is asking, and what they may do.

| Through | Is | May |
|---|---|---|
| the Unix socket | an operator, by the name of its user (the file's permissions are the rights) | everything |
| TCP from loopback | a viewer | read |
| TCP from elsewhere | nobody | probes of steerd itself, beacons, metrics |
| an agent's bearer token, or a client certificate with its name | that agent | send its own ballots |

An agent without a token in the config is believed only from loopback. A browser sends `Origin` and a `Host` of its own:
both are checked, so that a page elsewhere can neither read this API by DNS rebinding nor open an agent's stream.
"""

from __future__ import annotations

import hmac
import ipaddress
import pwd
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from aiohttp import web

from steerd.api.problems import Problem
from steerd.config.secrets import SecretError
from steerd.model.fleet import Agent, Fleet, Secret

__all__ = ["Auth", "Caller"]

Role = Literal["operator", "viewer", "anyone"]
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP")


@dataclass(frozen=True, slots=True)
class Caller:
    """`name` is recorded with every change; `role` says what the caller may do."""

    role: Role
    name: str


class Auth:
    """Answers "may they?" for each request; raises `Problem` when not.

    `fleet` gives the config in force; `resolve` reads a secret at the moment of use: a rotated token counts at once.
    """

    def __init__(self, fleet: Callable[[], Fleet], resolve: Callable[[Secret], str]) -> None:
        self._fleet = fleet
        self._resolve = resolve

    def caller(self, request: web.Request) -> Caller:
        """Who sent this, by the way it came in."""
        sock = _socket_of(request)
        if sock is not None and sock.family == socket.AF_UNIX:
            return Caller("operator", _peer_user(sock))
        if _from_loopback(request):
            return Caller("viewer", "loopback")
        return Caller("anyone", request.remote or "unknown")

    def reader(self, request: web.Request) -> Caller:
        """The caller, when it may read; else 403 (or 421 for a host name that is not ours)."""
        caller = self.caller(request)
        if caller.role == "anyone":
            raise Problem(
                403,
                "Reading over the network is open on loopback only. Use the Unix socket on the coordinator's host "
                "(`steerd status --socket PATH`), or forward the port: `ssh -L 7443:127.0.0.1:7443 HOST`.",
                kind="not-allowed",
            )
        if caller.role == "viewer":
            self._check_host(request)
        return caller

    def operator(self, request: web.Request) -> Caller:
        """The caller, when it may change things; else 403."""
        caller = self.caller(request)
        if caller.role != "operator":
            raise Problem(
                403,
                "Changes are taken through the Unix socket only, where file permissions are the rights: run the "
                "command on the coordinator's host (`--socket PATH`, by default /run/steerd/steerd.sock).",
                kind="not-allowed",
            )
        return caller

    def agent(self, request: web.Request, name: str) -> Agent:
        """The agent called `name`, when the caller has proved to be it; else 401, 403, 404 or 503."""
        if "Origin" in request.headers:
            raise Problem(403, "Agents are not web pages: a stream with an Origin is refused.", kind="not-allowed")
        agent = self._fleet().agent_by_name.get(name)
        if agent is not None and _certified(request, name):
            return agent
        if agent is not None and agent.token is not None:
            expected = self._token(agent.token, name)
            scheme, _, given = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), expected.encode()):
                return agent
            raise _unauthorized()
        if self.caller(request).role == "anyone":
            # One answer for "no such agent" and "no token configured": a stranger learns no names.
            raise _unauthorized()
        if agent is None:
            raise Problem(404, f"No agent is called {name!r} in this coordinator's config; add it under `agents:`.")
        return agent

    def _token(self, token: Secret, name: str) -> str:
        try:
            return self._resolve(token).strip()
        except SecretError as error:
            raise Problem(503, f"The coordinator cannot use the token of agent {name!r}: {error}.") from error

    def _check_host(self, request: web.Request) -> None:
        name = _host_of(request.headers.get("Host", ""))
        fleet = self._fleet()
        ours = {"localhost", fleet.listen.host} | {urlsplit(c.url).hostname or "" for c in fleet.coordinators}
        if name in ours or _is_loopback(name):
            return
        raise Problem(
            421,
            f"This is not {name!r}. Use a loopback address, localhost, or the name in the coordinator's `url`.",
            kind="wrong-host",
        )


def _unauthorized() -> Problem:
    return Problem(
        401,
        "An agent needs its own token: set `agents.NAME.token` in the config of both sides.",
        kind="not-authenticated",
        headers={"WWW-Authenticate": 'Bearer realm="steerd"'},
    )


def _socket_of(request: web.Request) -> socket.socket | None:
    return None if request.transport is None else request.transport.get_extra_info("socket")


def _peer_user(sock: socket.socket) -> str:
    """The name of the user at the other end of a Unix socket (SO_PEERCRED: pid, uid, gid as three C ints)."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid = struct.unpack("3i", raw)[1]
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _from_loopback(request: web.Request) -> bool:
    """True only for a connection from this host that no proxy says it forwards for somebody else."""
    if any(header in request.headers for header in _FORWARDED):
        return False
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return isinstance(peer, tuple) and _is_loopback(str(peer[0]))


def _is_loopback(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _host_of(header: str) -> str:
    """The host of a `Host` header, without port and brackets, in lower case."""
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""


def _certified(request: web.Request, name: str) -> bool:
    """True when the connection brought a certificate, already verified, whose DNS names include `name`."""
    transport = request.transport
    cert = None if transport is None else transport.get_extra_info("peercert")
    return ("DNS", name) in (cert or {}).get("subjectAltName", ())
