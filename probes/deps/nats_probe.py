"""`nats-jetstream`: a stream, what waits for a consumer, the age of the oldest of it, and dead letters.

Speaks JetStream's own API (docs.nats.io, "JetStream wire API"), whose answers are JSON.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import nats.errors
from nats.aio.client import Client

from probes.address import Address
from probes.clock import StageClock
from probes.deps.backlog import Backlog, BacklogLimits, DeadLetters
from probes.deps.base import DependencyProbe, ended, reach
from probes.deps.login import Login, LoginSettings
from probes.dial import opened
from probes.host_clock import HOST_CLOCK
from probes.json_path import BadJsonError, parse
from probes.outcome import Layer, Outcome
from probes.settings import Resolve, Text, number, text, tls_of
from probes.target import Target
from probes.tls_context import tls_context

__all__ = ["NatsProbe", "build"]

_FOREVER_S: Final = 3600.0
"""The client wants limits of its own; the look's deadline comes first."""

_REFUSED: Final = ("authorization", "authentication", "permissions violation", "credentials", "nkey")


class _ApiError(Exception):
    """JetStream says no: HTTP-like `code` and its words."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


class NatsProbe(DependencyProbe):
    """See the module's text. Readings: `depth`, `oldest_age_s`, `dead_letters`."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        super().__init__(layer, settings, resolve)
        self._login = LoginSettings.of(settings, {"nats": False, "tls": True}, 4222)
        self._tls = tls_of(settings)
        token = settings.get("token")
        self._token = None if token is None else Text(token)
        self._stream, self._consumer = text(settings, "stream"), text(settings, "consumer")
        self._dead = text(settings, "dead_letters")
        self._limits = BacklogLimits.of(settings)
        self._letters = DeadLetters(number(settings, "dead_letters_for", 600.0) or 600.0)

    def forget(self, target: str) -> None:
        """See `probes.probe.Probe`."""
        super().forget(target)
        self._letters.forget(target)

    async def _ask(self, target: Target, clock: StageClock, hidden: list[str]) -> Outcome:
        login = self._login.read(target, self._resolve, hidden)
        token = None
        if self._token is not None:
            token = self._token.read(self._resolve, "token")
            hidden.append(token)
        context = tls_context(self._tls) if login.secure or self._tls.ca is not None else None
        if context is None:
            await reach(login.address, clock)
        elif not await _offers_tls(login.address, clock):
            # The client would go on without it, and send the password in the clear.
            advice = "switch it on there, or write nats:// without `ca`"
            return self._misconfigured(clock, "the server offers no TLS", advice)
        told: asyncio.Queue[Exception] = asyncio.Queue()
        client = Client()
        try:
            await self._connect(client, login, token, context, told)
            clock.sent()
            found = await self._backlog(target, clock, client, told)
        except _ApiError as error:
            return self._refused(clock, error)
        except nats.errors.NoRespondersError:
            return self._misconfigured(clock, "JetStream is not enabled here", "enable it, or use `tcp`")
        except (nats.errors.Error, ConnectionError, EOFError) as error:
            return self._broken(clock, error, told)
        finally:
            await ended(client.close())
        if isinstance(found, Outcome):
            return found
        clock.first_byte()
        return self._judge(target, clock, found)

    async def _connect(
        self,
        client: Client,
        login: Login,
        token: str | None,
        context: ssl.SSLContext | None,
        told: asyncio.Queue[Exception],
    ) -> None:
        async def note(error: Exception) -> None:
            told.put_nowait(error)

        await client.connect(
            f"nats://{_host(login)}",
            error_cb=note,
            name="steerd-probe",
            allow_reconnect=False,
            max_reconnect_attempts=1,  # 0 would be without end
            reconnect_time_wait=0,
            connect_timeout=int(_FOREVER_S),
            tls=context,
            tls_hostname=(self._tls.server_name or login.address.name) if context is not None else None,
            user=login.user,
            password=login.password,
            token=token,
        )

    async def _backlog(
        self, target: Target, clock: StageClock, client: Client, told: asyncio.Queue[Exception]
    ) -> Backlog | Outcome:
        if self._stream is None:
            await _api(client, told, "INFO")
            found = Backlog(0)
        else:
            answer = await self._info(target, clock, client, told, self._stream, "stream")
            if isinstance(answer, Outcome):
                return answer
            state = answer.get("state", {})
            depth = int(state.get("messages", 0))
            found = Backlog(depth, _age_s(state.get("first_ts"), answer.get("ts")) if depth else 0.0)
            if self._consumer is not None:
                waiting = await self._waiting(target, clock, client, told, self._stream, self._consumer)
                if isinstance(waiting, Outcome):
                    return waiting
                found = waiting
        if self._dead is not None:
            answer = await self._info(target, clock, client, told, self._dead, "dead_letters")
            if isinstance(answer, Outcome):
                return answer
            found = replace(found, dead=int(answer.get("state", {}).get("messages", 0)))
        return found

    async def _info(
        self,
        target: Target,
        clock: StageClock,
        client: Client,
        told: asyncio.Queue[Exception],
        stream: str,
        setting: str,
    ) -> Mapping[str, Any] | Outcome:
        try:
            answer = await _api(client, told, f"STREAM.INFO.{stream}")
        except _ApiError as error:
            if error.code != 404:
                raise
            return self._missing(target, clock, f"stream {stream!r}", setting)
        self._saw(target, f"stream {stream!r}")
        return answer

    async def _waiting(
        self,
        target: Target,
        clock: StageClock,
        client: Client,
        told: asyncio.Queue[Exception],
        stream: str,
        consumer: str,
    ) -> Backlog | Outcome:
        """What the consumer has not acknowledged yet."""
        named = f"consumer {consumer!r}"
        try:
            answer = await _api(client, told, f"CONSUMER.INFO.{stream}.{consumer}")
        except _ApiError as error:
            if error.code != 404:
                raise
            return self._missing(target, clock, named, "consumer")
        self._saw(target, named)
        depth = int(answer.get("num_pending", 0)) + int(answer.get("num_ack_pending", 0))
        if not depth:
            return Backlog(0, 0.0)
        # The first message after the last one acknowledged in sequence, of the subject that the consumer takes.
        config = answer.get("config", {})
        after = int(answer.get("ack_floor", {}).get("stream_seq", 0))
        wanted = {"seq": after + 1, "next_by_subj": config.get("filter_subject") or ">"}
        try:
            message = await _api(client, told, f"STREAM.MSG.GET.{stream}", wanted)
        except _ApiError as error:
            if error.code != 404:
                raise
            return Backlog(depth)  # worked off in between
        return Backlog(depth, _age_s(message.get("message", {}).get("time"), answer.get("ts")))

    def _judge(self, target: Target, clock: StageClock, found: Backlog) -> Outcome:
        readings = found.readings() if self._stream or self._dead else {}
        wrong = self._limits.wrong(found, grown=self._letters.grown(target.name, found.dead, time.monotonic()))
        if wrong is not None:
            return self._failed(clock, wrong[1], detail=wrong[2], readings=readings, status=wrong[0])
        return self._passed(clock, readings)

    def _refused(self, clock: StageClock, error: _ApiError) -> Outcome:
        if error.code in (401, 403):
            return self._misconfigured(clock, "the user may not ask", str(error))
        if error.code == 503 and "not enabled" in str(error):
            return self._misconfigured(clock, "JetStream is not enabled for this account", "enable it, or use `tcp`")
        return self._failed(clock, f"JetStream answers {error.code}", detail=str(error))

    def _broken(self, clock: StageClock, error: BaseException, told: asyncio.Queue[Exception]) -> Outcome:
        said: list[BaseException] = [error]
        while not told.empty():
            said.append(told.get_nowait())
        words = "; ".join(dict.fromkeys(str(one) for one in said if str(one)))
        if any(word in words.lower() for word in _REFUSED):
            advice = f"{words}: fix `user` and `password`, `token` or `dsn`; it must be allowed $JS.API.> and its inbox"
            return self._misconfigured(clock, "credentials refused", advice)
        tls = next((one for one in said if isinstance(one, OSError)), None)
        if tls is not None and not isinstance(tls, nats.errors.Error):
            raise tls  # of TLS or the network, whose words are known
        return self._lost(clock, words)


async def _api(client: Client, told: asyncio.Queue[Exception], call: str, body: Any = None) -> Mapping[str, Any]:
    """The answer to one call. A violation of permissions comes beside the answers, so both are waited for."""
    request = asyncio.ensure_future(
        client.request(f"$JS.API.{call}", b"" if body is None else json.dumps(body).encode(), timeout=_FOREVER_S)
    )
    error = asyncio.ensure_future(told.get())
    try:
        await asyncio.wait((request, error), return_when=asyncio.FIRST_COMPLETED)
        if not request.done():
            raise error.result()
        document = parse(request.result().data)
    finally:
        for task in (request, error):
            task.cancel()
        await asyncio.wait((request, error))
        for task in (request, error):
            if not task.cancelled():
                task.exception()
    if not isinstance(document, Mapping):
        raise BadJsonError("not an object")
    failure = document.get("error")
    if isinstance(failure, Mapping):
        raise _ApiError(int(failure.get("code", 500)), str(failure.get("description", "")))
    return document


async def _offers_tls(address: Address, clock: StageClock) -> bool:
    """Whether the server's greeting says that it wants TLS."""
    async with opened(address, clock) as (reader, _):
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            line = await reader.read(4096)  # the addresses of a large cluster come last
    return bool(re.search(rb'"tls_required"\s*:\s*true', line))


def _host(login: Login) -> str:
    host = login.address.host
    return f"[{host}]:{login.address.port}" if ":" in host else f"{host}:{login.address.port}"


def _age_s(stamp: Any, now: Any) -> float | None:
    """Seconds from `stamp` to the server's `now`, or to this host's clock where the server does not say."""
    begin = _seconds(stamp)
    if begin is None or begin <= 0:
        return None
    return max(0.0, (_seconds(now) or HOST_CLOCK.now()) - begin)


def _seconds(stamp: Any) -> float | None:
    """RFC 3339 with up to nine digits of a second."""
    if not isinstance(stamp, str):
        return None
    whole, _, rest = stamp.rstrip("Z").partition(".")
    try:
        at = dt.datetime.fromisoformat(whole).replace(tzinfo=dt.UTC).timestamp()
        return at + (float(f"0.{rest}") if rest else 0.0)
    except ValueError:
        return None


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> NatsProbe:
    """See `probes.registry.make`."""
    return NatsProbe(layer, settings, resolve)
