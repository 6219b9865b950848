"""One target looked at again and again through the wire engine, every address behind its name by itself.

A plain pass is told as None: whoever counts looks by the thousand makes no `Outcome` of what changes nothing, and whoever
wants one asks `passed`.

Where a name has several addresses, each is asked, with the name's Host and TLS name, and the looks become one (`probes.fold`).
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from socket import AF_INET, AF_INET6

from multidict import CIMultiDict
from yarl import URL

from probes.address import is_address
from probes.clock import Phase
from probes.errors import MisconfiguredError
from probes.faults import Fault, fault_of, raised, timeout_fault
from probes.fold import fold
from probes.guard import failure, scrubbed
from probes.headers import MARK
from probes.http_client import USER_AGENT
from probes.http_settings import HttpSettings
from probes.outcome import Outcome, Stages, Status
from probes.settings import Resolve
from probes.target import Target
from probes.tls_context import TlsSettings, tls_context
from probes.turns import Turns
from probes.wire.engine import Engine
from probes.wire.exchange import Exchange
from probes.wire.origin import Origin
from probes.wire.request import Encoded, encode
from probes.wire.resolver import Resolver

__all__ = ["HttpLane", "Told"]

Told = Callable[["HttpLane", Outcome | None], None]
"""Called once a look, with None for a plain pass."""

_PORTS = {"http": 80, "https": 443}


class HttpLane:
    """See the module's text. One look at a time: `start` while `busy` is the caller's mistake."""

    __slots__ = (
        "_context",
        "_dns_s",
        "_ended",
        "_engine",
        "_fresh_every",
        "_hidden",
        "_ident",
        "_left",
        "_many",
        "_one",
        "_plain",
        "_request",
        "_resolve",
        "_settings",
        "_slow_s",
        "_target",
        "_task",
        "_tls",
        "_turn",
        "_url",
        "addresses",
        "busy",
        "duration_s",
        "told",
    )

    def __init__(
        self, settings: HttpSettings, target: Target, told: Told, turns: Turns, resolve: Resolve, tls: TlsSettings
    ) -> None:
        self.told = told
        self.busy = False
        self.duration_s = 0.0
        self.addresses: dict[str, Outcome | None] = {}
        """Address -> its last outcome (None: a plain pass), where the target's name has more than one."""
        self._settings = settings
        self._target = target
        self._resolve = resolve
        self._tls = tls
        self._turn = turns.of(target.name)
        # A request that is not idempotent must not meet a connection that the server is just closing.
        self._fresh_every = turns.fresh_every if settings.method != "POST" else 1
        self._plain = settings.plain
        self._slow_s = settings.slow_s if settings.slow_s is not None else float("inf")
        self._ident = secrets.randbits(32)
        self._request: Encoded | None = None
        self._hidden: list[str] = []
        self._url = URL()
        self._engine: Engine | None = None
        self._context: ssl.SSLContext | None = None
        self._one: Exchange | None = None
        self._many: dict[str, Exchange] = {}
        self._left: set[str] = set()
        self._ended: dict[str, Outcome | None] = {}
        self._dns_s: float | None = None
        self._task: asyncio.Task[None] | None = None

    # -- one look -----------------------------------------------------------------------------------------------------

    def start(self, deadline: float, *, fresh: bool = False) -> None:
        """Looks. `deadline` is in seconds of the loop's clock. `told` is called when it ended, maybe before this returns;
        what the network or the settings make impossible is told, not raised.
        """
        self.busy = True
        self._dns_s = None
        turn = self._turn
        turn.looks += 1
        fresh = fresh or turn.renew or turn.looks % self._fresh_every == 0
        try:
            request = self._request
            if request is None:
                request = self._prepare()
            elif self._context is not None:
                self._secure()
            self._ident = ident = (self._ident + 1) & 0xFFFFFFFF
            one = self._one
            if one is not None:
                one.begin(request, b"%08x" % ident, deadline, fresh=fresh)
            else:
                self._begin_named(request, deadline, fresh=fresh)
        except Exception as error:
            if not self.busy:
                raise  # it is of whoever was told of the end
            self._give_up(error)

    def prepare(self) -> None:
        """See `probes.probe.Lane`."""
        try:
            self._prepare()
        except (MisconfiguredError, OSError, ValueError):
            return

    def close(self) -> None:
        """Closes the connections; a look under way ends without a word. Safe to call twice."""
        self.busy = False
        if self._task is not None:
            self._task.cancel()
            self._task = None
        for exchange in (self._one, *self._many.values()):
            if exchange is not None:
                exchange.close()
        self._one, self._many = None, {}
        self._request = None
        if self._engine is not None:
            self._engine.release()
            self._engine = None

    def passed(self) -> Outcome:
        """The outcome of the plain pass just told."""
        return Outcome(Status.PASS, self._settings.layer, duration_s=self.duration_s, stages=self._stages)

    @property
    def connections(self) -> int:
        """Idle connections kept."""
        return sum(e.keeps for e in (self._one, *self._many.values()) if e is not None)

    # -- making it ready ----------------------------------------------------------------------------------------------

    def _prepare(self) -> Encoded:
        """The request; kept for the next look unless a secret is in it. Makes the exchange of a target with an address."""
        hidden: list[str] = []
        request = self._settings.request(self._target, self._resolve, hidden)
        url = self._url = request.url
        headers = CIMultiDict({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
        headers.update(request.headers)
        headers.pop(MARK, None)
        encoded = encode(request.method, url, headers, f"{self._settings.layer.value}/", request.body)
        self._hidden = hidden
        if self._engine is None:
            self._engine = Engine.acquire()
        if url.scheme == "https":
            self._secure()
        address = self._target.address or url.host or ""
        if self._one is None and is_address(address):
            self._one = self._exchange(address)
        if not hidden:
            self._request = encoded
        return encoded

    def _secure(self) -> None:
        """Takes the context of the files as they are now. Connections made by older ones are closed. Raises
        `MisconfiguredError`.
        """
        context = tls_context(self._tls)
        if context is self._context:
            return
        self._context = context
        for exchange in (self._one, *self._many.values()):
            if exchange is not None:
                exchange.close()
        one, self._one, self._many = self._one, None, {}
        if one is not None:
            self._one = self._exchange(one.origin.address[0])

    def _exchange(self, address: str) -> Exchange:
        assert self._engine is not None
        url = self._url
        port = url.port or _PORTS[url.scheme]
        origin = Origin(
            AF_INET6 if ":" in address else AF_INET,
            (address, port, 0, 0) if ":" in address else (address, port),
            self._context,
            (self._tls.server_name or url.host) if self._context is not None else None,
        )
        return Exchange(self._engine, origin, self._over, plain=self._plain, limit=self._settings.max_bytes)

    # -- a name and its addresses -------------------------------------------------------------------------------------

    def _begin_named(self, request: Encoded, deadline: float, *, fresh: bool) -> None:
        host = self._url.host or ""
        assert self._engine is not None
        resolver = Resolver.of(asyncio.get_running_loop())
        found = resolver.known(host)
        if found is not None:
            self._ask_all(found, request, deadline, fresh=fresh)
        else:
            self._task = asyncio.ensure_future(self._resolve_first(resolver, host, request, deadline, fresh=fresh))

    async def _resolve_first(
        self, resolver: Resolver, host: str, request: Encoded, deadline: float, *, fresh: bool
    ) -> None:
        began = time.perf_counter()
        try:
            async with asyncio.timeout_at(deadline) as limit:
                found = await resolver.resolve(host)
            self._dns_s = time.perf_counter() - began
            self._ask_all(found, request, deadline, fresh=fresh)
        except Exception as error:
            if not self.busy:
                raise
            if isinstance(error, TimeoutError) and limit.expired():
                fault = timeout_fault(Phase.DNS, time.perf_counter() - began, alone=resolver.alone(host))
                self._finish(self._failed(fault, Stages()))
            else:
                self._give_up(error)

    def _ask_all(self, addresses: tuple[str, ...], request: Encoded, deadline: float, *, fresh: bool) -> None:
        for gone in self._many.keys() - set(addresses):
            self._many.pop(gone).close()
        for address in addresses:
            if address not in self._many:
                self._many[address] = self._exchange(address)
        self._left, self._ended = set(addresses), {}
        for address in addresses:
            self._many[address].begin(request, b"%08x" % self._ident, deadline, fresh=fresh)

    # -- ends ---------------------------------------------------------------------------------------------------------

    def _over(self, exchange: Exchange) -> None:
        """One exchange ended."""
        self.duration_s = duration_s = exchange.end_at - exchange.start_at
        plain = duration_s <= self._slow_s and exchange.status in self._plain and exchange.fault is None
        if exchange is self._one:
            if plain:
                self._turn.renew = False
                self.busy = False
                self.told(self, None)
            else:
                self._finish(self._judged(exchange))
            return
        address = exchange.origin.address[0]
        self._ended[address] = None if plain else self._judged(exchange)
        self._left.discard(address)
        if not self._left:
            try:
                outcome = self._together()
            except Exception as error:  # noqa: BLE001 - as in `_judged`
                outcome = self._failed(raised(error), exchange.stages())
            self._finish(outcome)

    def _together(self) -> Outcome | None:
        if len(self._ended) == 1:
            outcome = next(iter(self._ended.values()))
            self.addresses = {}
            return outcome if outcome is not None else self.passed()
        self.addresses = dict(self._ended)
        return fold({a: o if o is not None else self.passed() for a, o in self._ended.items()})

    def _finish(self, outcome: Outcome | None) -> None:
        self._turn.renew = outcome is not None and not outcome.ok
        if outcome is not None:
            outcome = scrubbed(outcome, self._hidden)
        self.busy = False
        self.told(self, outcome)

    @property
    def _stages(self) -> Stages:
        exchange = self._one or next(iter(self._many.values()), None)
        stages = exchange.stages() if exchange is not None else Stages()
        if self._dns_s is None:
            return stages
        return replace(stages, dns_s=self._dns_s, total_s=(stages.total_s or 0.0) + self._dns_s)

    def _judged(self, exchange: Exchange) -> Outcome:
        try:
            return self._judge(exchange)
        except Exception as error:  # noqa: BLE001 - a look that ended is told, whatever a bug of ours makes of its answer
            return self._failed(raised(error), exchange.stages())

    def _judge(self, exchange: Exchange) -> Outcome:
        settings, answer, version = self._settings, exchange.answer, None
        stages = exchange.stages()
        fault = exchange.fault
        if fault is None and answer is not None:
            onward = settings.redirect(answer.status, answer.headers, self._url)
            if onward is not None:
                fault = Fault(Status.FAIL, str(onward), detail=f"to {answer.headers['Location']}")
            else:
                version = settings.version.read(answer, answer.body)
                elapsed_s = stages.total_s or 0.0
                fault = settings.judge(
                    self._target, answer.status, answer.headers, answer.body, whole=answer.whole, elapsed_s=elapsed_s
                )
        elif fault is None:  # a status that passes, with nothing else to judge, and yet not a plain pass
            fault = Fault(Status.SLOW, f"slower than {settings.slow_s:g} s")
        if self._dns_s is not None:
            stages = replace(stages, dns_s=self._dns_s, total_s=(stages.total_s or 0.0) + self._dns_s)
        if fault is None:
            return Outcome(
                Status.PASS, settings.layer, duration_s=stages.total_s or 0.0, stages=stages, version=version
            )
        return self._failed(fault, stages, version)

    def _failed(self, fault: Fault, stages: Stages, version: str | None = None) -> Outcome:
        return failure(fault, self._settings.layer, stages, version)

    def _give_up(self, error: Exception) -> None:
        """The look could not be made: settings, secrets, the resolver, descriptors, or a bug of ours."""
        fault = fault_of(error, Phase.START) or raised(error)
        if isinstance(error, MisconfiguredError):
            self._request = None
        for exchange in (self._one, *self._many.values()):
            if exchange is not None and exchange.busy:
                exchange.close()
        self._finish(self._failed(fault, Stages()))
