"""`postgres`: a query, and for a standby how far it is behind its primary.

Replication never fails a look: it is a reading (`lag_s`), for the data gate and the alert on `max_lag`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from typing import Any, Final, TypeVar

import asyncpg  # type: ignore[import-untyped]  # comes without types

from probes.address import Address
from probes.clock import StageClock
from probes.deps.base import DependencyProbe, remaining_s
from probes.deps.login import LoginSettings
from probes.deps.postgres_dsn import HOW, keywords, tls_of_mode
from probes.deps.replica import Replicas, ReplicaState
from probes.dial import resolved
from probes.errors import MisconfiguredError, chain
from probes.faults import Fault
from probes.guard import outcome_of
from probes.outcome import Layer, Outcome, Status
from probes.settings import Resolve, Text, text, tls_of
from probes.target import Target

__all__ = ["PostgresProbe", "build"]

T = TypeVar("T")

_SLACK_S: Final = 5.0
_GRACE_S: Final = 0.5
"""Seconds after the look's deadline: the look itself ends first, so that it says what ran out."""

_STANDBY: Final = """
SELECT pg_is_in_recovery() AS standby,
       extract(epoch FROM now() - pg_last_xact_replay_timestamp())::float8 AS replayed_age_s,
       coalesce(greatest(pg_last_wal_receive_lsn(), r.latest_end_lsn) > pg_last_wal_replay_lsn(), false) AS behind,
       r.pid IS NOT NULL AS receiver, r.status,
       extract(epoch FROM now() - r.last_msg_receipt_time)::float8 AS silent_s,
       (SELECT setting::float8 / 1000 FROM pg_settings WHERE name = 'wal_receiver_timeout') AS patience_s
FROM (SELECT 1) one LEFT JOIN pg_stat_wal_receiver r ON true
"""
"""`latest_end_lsn` is how far the primary says it is: more than was received means that more is on its way. A user who may
not read the statistics sees the receiver's pid and nothing else."""

_NOT_READY = ("57P03", "57P01", "57P02")  # cannot_connect_now, admin_shutdown, crash_shutdown
_FULL = ("53300", "53400")  # too_many_connections, configuration_limit_exceeded
_REFUSED = ("28000", "28P01")  # invalid_authorization_specification, invalid_password
_NOT_ALLOWED = ("42501",)  # insufficient_privilege
_WRONG = ("3D000", "42601", "42P01", "42703", "42883", "25006")  # the check's own database or query


class PostgresProbe(DependencyProbe):
    """See the module's text. Readings: `lag_s`, `replication_link` (0 or 1, of a standby)."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        super().__init__(layer, settings, resolve)
        plain = {key: value for key, value in settings.items() if key != "dsn"}
        dsn = settings.get("dsn")
        self._dsn = None if dsn is None else Text(dsn)
        self._login = LoginSettings.of(plain, {"postgresql": False, "postgres": False}, 5432)
        self._query = (text(settings, "query", "SELECT 1") or "SELECT 1").rstrip().rstrip(";")
        self._tls = tls_of(settings)
        self._replicas = Replicas()

    def forget(self, target: str) -> None:
        """See `probes.probe.Probe`."""
        super().forget(target)
        self._replicas.forget(target)

    async def _ask(self, target: Target, clock: StageClock, hidden: list[str]) -> Outcome:
        options, host = self._options(target, hidden)
        if not host.startswith("/"):
            # Its own look-up comes first, for a name that does not resolve is this host's fault and not the database's.
            await resolved(Address(host, host, options["port"]), clock)
        clock.connecting(named=False)
        connection: Any = None
        try:
            connection = await asyncpg.connect(**options)
            clock.connected()
            clock.sent()
            await _without_cancel(connection, connection.execute(self._bounded()))
            clock.first_byte()
            row = await _without_cancel(connection, connection.fetchrow(_STANDBY))
        except asyncpg.PostgresError as error:
            return self._refused(clock, error)
        except asyncpg.InterfaceError as error:
            return self._misconfigured(clock, "misconfigured probe", f"{error}: {HOW}")
        except ConnectionError as error:
            return self._unreachable(clock, error)
        finally:
            if connection is not None:
                connection.terminate()
        readings, detail = self._replication(target, row)
        return self._passed(clock, readings, detail=detail)

    def _bounded(self) -> str:
        """The query, which may change nothing, and which the server ends soon after the look: a slow database must not be
        given one more query to carry at every look. Settings of a transaction, for a pooler would keep those of a session.
        """
        limit_ms = int(1000 * (remaining_s() + _GRACE_S))
        return f"BEGIN READ ONLY; SET LOCAL statement_timeout = {limit_ms}; {self._query}; COMMIT"

    def _options(self, target: Target, hidden: list[str]) -> tuple[dict[str, Any], str]:
        """What to connect with, and the host. Raises `MisconfiguredError`."""
        if self._dsn is not None:
            dsn = self._dsn.read(self._resolve, "dsn")
            hidden.append(dsn)
            found = keywords(dsn)
        else:
            login = self._login.read(target, self._resolve, hidden)
            found = {"host": login.address.name, "port": str(login.address.port), "dbname": login.path}
            found |= {key: v for key, v in (("user", login.user), ("password", login.password)) if v is not None}
        host = found.get("host", "")
        if not host:
            raise MisconfiguredError(f"`dsn` names no host: {HOW}")
        if not found.get("user"):
            raise MisconfiguredError("no user is named: set `user` of this check, or put it into `dsn`")
        if found.get("password"):
            hidden.append(found["password"])
        port = found.get("port") or "5432"
        if not port.isdecimal():
            raise MisconfiguredError(f"`dsn` has a port that is no number: {HOW}")
        return {
            "host": host,
            "port": int(port),
            "user": found["user"],
            # An empty password keeps the client from looking for one in the files and environment of this host.
            "password": found.get("password") or "",
            "database": found.get("dbname") or found["user"],
            "server_settings": {"application_name": found.get("application_name") or "steerd-probe"},
            "statement_cache_size": 0,  # a pooler in between may hand the next statement to another session
            "timeout": 3600.0,  # the look has a deadline of its own
            **tls_of_mode(found, self._tls, host),
        }, host

    def _refused(self, clock: StageClock, error: asyncpg.PostgresError) -> Outcome:
        code, words = str(error.sqlstate), str(error)
        if code in _REFUSED:
            return self._misconfigured(clock, "credentials refused", f"{words}: fix `user` and `password` (or `dsn`)")
        if code in _NOT_ALLOWED:
            return self._misconfigured(clock, "the user may not ask", f"{words}: grant it, or change `query`")
        if code in _WRONG:
            return self._misconfigured(clock, "the check's own query or database is wrong", words)
        if code in _FULL:
            return self._failed(clock, "no connection is free", detail=words, status=Status.SATURATED)
        if code in _NOT_READY:
            return self._failed(clock, "starting up or shutting down", detail=words)
        return self._failed(clock, f"the query failed (SQLSTATE {code})", detail=words)

    def _unreachable(self, clock: StageClock, error: ConnectionError) -> Outcome:
        if "rejected SSL upgrade" in str(error):
            advice = "switch TLS on in the server, or write sslmode=disable into `dsn` if the network is safe"
            return self._misconfigured(clock, "the server offers no TLS", advice)
        if any(isinstance(part, OSError) and part.errno for part in chain(error)):
            raise error  # the network's own words say more
        fault = Fault(Status.FAIL, "connection closed without an answer", transport=True, detail=str(error))
        return outcome_of(fault, self.layer, clock)

    def _replication(self, target: Target, row: Mapping[str, Any]) -> tuple[dict[str, float], str | None]:
        """Readings, and what to tell a human of the link."""
        if not row["standby"]:
            self._replicas.forget(target.name)
            return {"lag_s": 0.0}, None
        # A primary without work is asked for a sign of life after half of the receiver's patience.
        patience_s = (row["patience_s"] or 60.0) / 2 + _SLACK_S
        silent_s = row["silent_s"]
        shown = row["status"] is not None
        linked = bool(row["receiver"]) and (not shown or (row["status"] == "streaming" and silent_s <= patience_s))
        state = ReplicaState(linked, bool(row["behind"]), silent_s, row["replayed_age_s"])
        lag_s = self._replicas.lag_s(target.name, state, time.monotonic())
        readings = {"replication_link": float(linked)} | ({} if lag_s is None else {"lag_s": lag_s})
        if linked:
            blind = "grant pg_read_all_stats to this user: it cannot see whether the primary still sends"
            return readings, None if shown else blind
        if not row["receiver"]:
            return readings, "the standby has no WAL receiver: nothing comes from its primary"
        return readings, f"the standby's WAL receiver is {row['status']}, without a message for {silent_s or 0:.0f} s"


async def _without_cancel(connection: Any, work: Awaitable[T]) -> T:
    """`work`; when it is cancelled the connection is cut at once. The client would otherwise open another connection, to
    ask a server that may hang to give up, and wait for it.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        connection.terminate()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()
        raise


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> PostgresProbe:
    """See `probes.registry.make`."""
    return PostgresProbe(layer, settings, resolve)
