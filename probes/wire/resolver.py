"""Names to addresses for looks: all of them, for as long as their TTL says and no longer.

What cannot be resolved is this host's affair or the config's, never the target's: `socket.gaierror`, with EAI_NONAME for a name
that does not exist and EAI_AGAIN for a resolver that does not answer, or `NameTroubleError` where it answers for others: a zone
whose servers are broken is SERVFAIL or silence for its names alone.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import dns.asyncresolver
import dns.exception
import dns.resolver

from probes.name_standing import NameStanding, NameTroubleError

__all__ = ["Resolver"]

_HOSTS = Path("/etc/hosts")
_LEAST_TTL_S = 1.0
"""Records with TTL 0 are not asked for at every look of thousands."""

_LIFETIME_S = 5.0

_GRACE_S = 0.25
"""How long the second of A and AAAA may take after the first had addresses (RFC 8305, section 3: some resolvers and firewalls drop
AAAA). Longer than its 50 ms, since nobody waits at a screen and all addresses are wanted."""

_LATELY_S = 5.0
"""How old an answer for another name may be to tell of the resolver now, without asking again."""

_CHECKED = 4
"""How many other names are asked again: more than one, which may be of the same broken zone."""

_PART_TTL_S = 10.0
"""How long addresses of one family are kept when nothing was heard of the other."""


@dataclass(frozen=True, slots=True)
class _Known:
    addresses: tuple[str, ...]
    until: float


class Resolver:
    """One per event loop (`of`). Names in the hosts file, and `localhost`, are read from there."""

    _all: ClassVar[dict[asyncio.AbstractEventLoop, Resolver]] = {}

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._asking: dict[str, asyncio.Task[tuple[str, ...]]] = {}
        self._waiting: dict[str, int] = {}
        self._hosts: dict[str, tuple[str, ...]] = {}
        self._hosts_mark = -1.0
        self._upstream: dns.asyncresolver.Resolver | None = None
        self._standing = NameStanding()
        self._control: asyncio.Task[None] | None = None
        self.asked = 0
        self.failed = 0
        self.trouble: str | None = None
        """What the last failure on this host was; None since the last answer."""

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> Resolver:
        """The resolver of `loop`."""
        for known in [k for k in cls._all if k.is_closed()]:
            del cls._all[known]
        return cls._all.setdefault(loop, cls())

    def use(self, upstream: dns.asyncresolver.Resolver) -> None:
        """Asks `upstream` instead of what this host's resolv.conf names."""
        self._upstream = upstream

    def known(self, host: str) -> tuple[str, ...] | None:
        """The addresses of `host` where they are known and still hold."""
        found = self._known.get(host)
        return found.addresses if found is not None and time.monotonic() < found.until else None

    async def resolve(self, host: str) -> tuple[str, ...]:
        """The addresses of `host`, sorted; at least one. Looks that wait for the same name share one question.

        Raises `socket.gaierror`.
        """
        found = self.known(host)
        if found is not None:
            return found
        task = self._asking.get(host)
        if task is None or task.cancelling():
            task = self._asking[host] = asyncio.ensure_future(self._ask(host))
            task.add_done_callback(lambda done: self._asked(host, done))
        self._waiting[host] = self._waiting.get(host, 0) + 1
        try:
            return await asyncio.shield(task)
        finally:
            self._waiting[host] -= 1
            if not self._waiting[host]:
                del self._waiting[host]
                task.cancel()  # nobody waits for it any more

    def _asked(self, host: str, task: asyncio.Task[tuple[str, ...]]) -> None:
        if self._asking.get(host) is task:
            del self._asking[host]
        if not task.cancelled():
            task.exception()  # whoever still waits gets it; nobody may be left to

    def alone(self, host: str) -> bool:
        """The resolver answers for other names than `host`. Call it when `host` got no answer: where the last word on any other
        name is old, one is asked again, for the next time.
        """
        others = self._standing.others(host)
        if not others:
            return False
        if time.monotonic() - others[0][1] > _LATELY_S and (self._control is None or self._control.done()):
            self._control = asyncio.get_running_loop().create_task(self._check([name for name, _ in others[:_CHECKED]]))
        return True

    def answered(self, host: str) -> None:
        """This host's resolver answered for `host`, whoever asked it. What the hosts file says tells nothing of it."""
        if not self._local(host):
            self._standing.answered(host)

    async def _check(self, names: list[str]) -> None:
        answers = await asyncio.gather(*map(self._query, names), return_exceptions=True)
        for name, answer in zip(names, answers, strict=True):
            if not isinstance(answer, socket.gaierror) or answer.errno == socket.EAI_NONAME:
                self._standing.answered(name)
                return
        self._standing.clear()  # many names without an answer, and none with one lately: it is the resolver

    async def _ask(self, host: str) -> tuple[str, ...]:
        local = self._local(host)
        if local:
            self._known[host] = _Known(local, time.monotonic() + _LEAST_TTL_S)
            return local
        self.asked += 1
        try:
            addresses, ttl_s = await self._query(host)
        except socket.gaierror as error:
            if error.errno == socket.EAI_NONAME:
                self._standing.answered(host)
                raise
            self.failed += 1
            self.trouble = f"{host}: {error.strerror}"
            if self.alone(host):
                raise NameTroubleError(error.errno, error.strerror) from error
            raise
        self.trouble = None
        self._standing.answered(host)
        self._known[host] = _Known(addresses, time.monotonic() + max(_LEAST_TTL_S, ttl_s))
        return addresses

    async def _query(self, host: str) -> tuple[tuple[str, ...], float]:
        upstream = self._upstream
        try:
            if upstream is None:
                upstream = self._upstream = dns.asyncresolver.Resolver()
            answers = await _both(upstream, host)
        except (dns.exception.DNSException, OSError) as error:  # no resolv.conf to be read
            raise socket.gaierror(socket.EAI_AGAIN, f"no resolver: {error}") from error
        found: list[str] = []
        ttl_s = float("inf")
        for answer in answers:
            if isinstance(answer, dns.resolver.Answer):
                found += [record.address for record in answer]
                ttl_s = min(ttl_s, float(answer.rrset.ttl if answer.rrset is not None else 0))
        if found:
            if any(isinstance(answer, asyncio.CancelledError) for answer in answers):
                ttl_s = min(ttl_s, _PART_TTL_S)
            return _reachable(found), ttl_s
        errors = [a for a in answers if isinstance(a, BaseException)]
        absent = (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer, dns.exception.SyntaxError)
        if all(isinstance(e, absent) for e in errors):
            raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
        blame = next(e for e in errors if not isinstance(e, absent))
        raise socket.gaierror(socket.EAI_AGAIN, f"{type(blame).__name__}: {blame}") from blame

    def _local(self, host: str) -> tuple[str, ...]:
        """What this host's own file says. IPv4 where it has both: its names are about this host, not about a service."""
        try:
            mark = _HOSTS.stat().st_mtime
            if mark != self._hosts_mark:
                self._hosts, self._hosts_mark = _read_hosts(_HOSTS.read_text(errors="replace")), mark
        except OSError:
            self._hosts = {}
        found = self._hosts.get(host.lower(), ())
        if not found and host.lower().rstrip(".").endswith("localhost"):
            found = ("127.0.0.1",)
        four = tuple(a for a in found if ":" not in a)
        return four or found


async def _both(upstream: dns.asyncresolver.Resolver, host: str) -> list[dns.resolver.Answer | BaseException]:
    """What A and AAAA say; a CancelledError for one that was not waited for any longer."""
    asked = [
        asyncio.ensure_future(upstream.resolve(host, kind, lifetime=_LIFETIME_S, search=True)) for kind in ("A", "AAAA")
    ]
    try:
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        found = any(one.exception() is None for one in done)
        await asyncio.wait(asked, timeout=_GRACE_S if found else None)
    finally:
        for one in asked:
            one.cancel()
        answers = await asyncio.gather(*asked, return_exceptions=True)
    return answers


def _read_hosts(text: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) < 2:
            continue
        try:
            ipaddress.ip_address(words[0])
        except ValueError:
            continue
        for name in words[1:]:
            key = name.lower()
            found[key] = (*found.get(key, ()), words[0])
    return found


def _reachable(addresses: list[str]) -> tuple[str, ...]:
    """Without those this host has no route to by IPv6 at all, unless there are no others: they are not the target's fault."""
    routed = tuple(sorted({a for a in addresses if ":" not in a or _routes(a)}))
    return routed or tuple(sorted(set(addresses)))


def _routes(address: str) -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # sends nothing: asks the routing table
    except OSError:
        return False
    return True
