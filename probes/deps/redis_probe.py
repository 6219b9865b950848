"""`redis`: PING, whether the data set is loaded, and for a replica how far it is behind its master.

Replication never fails a look: it is a reading (`lag_s`), for the data gate and the alert on `max_lag`.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Connection, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    MasterDownError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from probes.clock import StageClock
from probes.deps.base import DependencyProbe, ended, reach
from probes.deps.login import Login, LoginSettings
from probes.deps.replica import Replicas, ReplicaState
from probes.errors import MisconfiguredError
from probes.outcome import Layer, Outcome
from probes.settings import Resolve, tls_of
from probes.target import Target
from probes.tls_context import tls_context

__all__ = ["RedisProbe", "build"]

_SILENT_S = 15.0
"""A master pings its replicas every 10 s (`repl-ping-replica-period`); longer without a word and the link is not trusted."""


class _TlsConnection(Connection):
    """Verified by the probes' own context and for the check's own `server_name`, which the client's TLS has no room for."""

    def __init__(self, *, context: ssl.SSLContext, server_name: str, **options: Any) -> None:
        super().__init__(**options)
        self._tls = {"ssl": context, "server_hostname": server_name}

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), **self._tls}


class RedisProbe(DependencyProbe):
    """See the module's text. Readings: `lag_s`, `replication_link` (0 or 1, of a replica), `used_memory_ratio`."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        super().__init__(layer, settings, resolve)
        self._login = LoginSettings.of(settings, {"redis": False, "rediss": True}, 6379)
        self._tls = tls_of(settings)
        self._replicas = Replicas()

    def forget(self, target: str) -> None:
        """See `probes.probe.Probe`."""
        super().forget(target)
        self._replicas.forget(target)

    async def _ask(self, target: Target, clock: StageClock, hidden: list[str]) -> Outcome:
        login = self._login.read(target, self._resolve, hidden)
        context = tls_context(self._tls) if login.secure else None
        await reach(login.address, clock, context, self._tls.server_name or login.address.name)
        client = self._client(login, context)
        try:
            clock.sent()
            await client.ping()
            clock.first_byte()
            info = await client.info()
        except (AuthenticationError, AuthorizationError) as error:
            advice = f"{error}: fix `user` and `password` (or `dsn`) of this check"
            return self._misconfigured(clock, "credentials refused", advice)
        except NoPermissionError as error:
            return self._misconfigured(clock, "the user may not ask", f"{error}: allow it PING and INFO")
        except BusyLoadingError as error:
            return self._failed(clock, "loading its data set", detail=str(error))
        except RedisError as error:
            return self._broken(clock, error)
        finally:
            await ended(client.aclose())
        return self._judge(target, clock, info)

    def _client(self, login: Login, context: ssl.SSLContext | None) -> Redis:
        # One look is one attempt, and one connection.
        options: dict[str, Any] = {
            "host": login.address.host,
            "port": login.address.port,
            "username": login.user,
            "password": login.password,
            "db": _database(login.path),
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": None,
            "socket_connect_timeout": None,
            "protocol": 2,
        }
        if context is not None:
            name = self._tls.server_name or login.address.name
            options |= {"connection_class": _TlsConnection, "context": context, "server_name": name}
        return Redis.from_pool(ConnectionPool(max_connections=1, **options))

    def _broken(self, clock: StageClock, error: RedisError) -> Outcome:
        if str(error) in ("Invalid Database", "DB index is out of range"):
            return self._misconfigured(clock, "there is no such database", "fix the number at the end of the URL")
        if isinstance(error, MasterDownError):
            return self._failed(clock, "refuses commands: its master is gone", detail=str(error))
        if isinstance(error, ResponseError):
            return self._failed(clock, "command refused", detail=str(error))
        return self._lost(clock, error)

    def _judge(self, target: Target, clock: StageClock, info: Mapping[str, Any]) -> Outcome:
        if info.get("loading"):
            left = info.get("loading_eta_seconds")
            return self._failed(clock, "loading its data set", detail=f"about {left} s left" if left else None)
        readings: dict[str, float] = {}
        detail = None
        if info.get("role") == "slave":
            up = info.get("master_link_status") == "up"
            readings["replication_link"] = float(up)
            lag_s = self._replicas.lag_s(target.name, _state(info), time.monotonic())
            if lag_s is not None:
                readings["lag_s"] = lag_s
            if not up:
                detail = _link_words(info)
        else:
            self._replicas.forget(target.name)
            readings["lag_s"] = 0.0
        limit = info.get("maxmemory")
        if limit:
            readings["used_memory_ratio"] = float(info.get("used_memory", 0)) / float(limit)
        return self._passed(clock, readings, detail=detail)


def _state(info: Mapping[str, Any]) -> ReplicaState:
    """What INFO says of the link (redis.io, INFO, "replication")."""
    up = info.get("master_link_status") == "up"
    if not up:
        down_s = float(info.get("master_link_down_since_seconds", -1))
        # -1: it was never up since this server started. Whole seconds are rounded down.
        return ReplicaState(linked=False, silent_s=None if down_s < 0 else down_s + 1.0)
    silent_s = float(info.get("master_last_io_seconds_ago", 0))
    read, applied = info.get("slave_read_repl_offset"), info.get("slave_repl_offset")
    behind = bool(read is not None and applied is not None and read > applied)
    return ReplicaState(linked=silent_s <= _SILENT_S, behind=behind, silent_s=silent_s)


def _link_words(info: Mapping[str, Any]) -> str:
    if info.get("master_sync_in_progress"):
        return "the replica copies the whole data set from its master"
    since = info.get("master_link_down_since_seconds", -1)
    return "the replica has no link to its master" + (f" since {since} s" if since and int(since) >= 0 else "")


def _database(path: str) -> int:
    if not path:
        return 0
    if not path.isdecimal():
        raise MisconfiguredError(f"{path!r} is no database: write redis://HOST:PORT/0")
    return int(path)


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> RedisProbe:
    """See `probes.registry.make`."""
    return RedisProbe(layer, settings, resolve)
