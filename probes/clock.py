"""Times of one look's stages, and which stage it is in: what a timeout means depends on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum

from probes.outcome import Stages

__all__ = ["Phase", "StageClock"]


class Phase(StrEnum):
    """Where a look stands."""

    START = "start"
    DNS = "name resolution"
    CONNECT = "the connect"
    TLS = "the TLS handshake"
    WAIT = "the wait for an answer"
    READ = "the answer"


class StageClock:
    """Marks of one look, in seconds of `now`. One per look, never shared.

    Not the event loop's own time: that of uvloop stands still within a turn of the loop and counts whole milliseconds.
    """

    __slots__ = (
        "_connected_at",
        "_dial_at",
        "_dns_at",
        "_first_byte_at",
        "_first_token_at",
        "_sent_at",
        "_tls_at",
        "kept",
        "name",
        "now",
        "on_connected",
        "phase",
        "started",
    )

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now
        self.started = now()
        self.phase = Phase.START
        self.kept = False
        self.name: str | None = None
        """The name of the target where it has to be resolved."""
        self.on_connected: Callable[[], None] | None = None
        self._dns_at: float | None = None
        self._dial_at: float | None = None
        self._tls_at: float | None = None
        self._connected_at: float | None = None
        self._sent_at: float | None = None
        self._first_byte_at: float | None = None
        self._first_token_at: float | None = None

    def connecting(self, *, named: bool) -> None:
        """A new connection begins, to a name that must be resolved first or to an address. A second one (a retry, a
        redirect) starts its stages anew.
        """
        self.kept = False
        self._dns_at = self._dial_at = self._tls_at = self._connected_at = None
        if named:
            self._dns_at, self.phase = self.now(), Phase.DNS
        else:
            self.dialling()

    def dialling(self) -> None:
        """A socket is about to connect. With several addresses the first attempt counts."""
        if self._dial_at is None:
            self._dial_at, self.phase = self.now(), Phase.CONNECT

    def handshaking(self) -> None:
        """The TCP connection stands and TLS begins."""
        self._tls_at, self.phase = self.now(), Phase.TLS

    def reusing(self) -> None:
        """A kept-alive connection is used: there are no stages before the request."""
        self.kept = True
        self.connected()

    def connected(self) -> None:
        """The connection is ready to be written to."""
        self._connected_at, self.phase = self.now(), Phase.WAIT
        if self.on_connected is not None:
            self.on_connected()

    def sent(self) -> None:
        """A part of the request was written; the last one counts."""
        self._sent_at, self.phase = self.now(), Phase.WAIT

    def first_byte(self) -> None:
        """The head of the answer is here."""
        self._first_byte_at, self.phase = self.now(), Phase.READ

    def first_token(self) -> None:
        self._first_token_at = self.now()

    @property
    def resolved(self) -> bool:
        """True once the name of a new connection was resolved."""
        return self._dns_at is not None and self._dial_at is not None

    @property
    def answered(self) -> bool:
        """True once the head of an answer was read."""
        return self._first_byte_at is not None

    @property
    def asked(self) -> bool:
        """True once a part of the request was written."""
        return self._sent_at is not None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the look began."""
        return self.now() - self.started

    @property
    def ttft_s(self) -> float | None:
        """Seconds from the request being written to the first token."""
        return _between(self._sent_at, self._first_token_at)

    def stages(self) -> Stages:
        """The stages so far; `total_s` ends now."""
        # Without TLS the connect stage ends when the connection is ready.
        connect_end = self._tls_at if self._tls_at is not None else self._connected_at
        return Stages(
            dns_s=_between(self._dns_at, self._dial_at),
            connect_s=_between(self._dial_at, connect_end),
            tls_s=_between(self._tls_at, self._connected_at),
            first_byte_s=_between(self._sent_at, self._first_byte_at),
            first_token_s=self.ttft_s,
            total_s=self.elapsed_s,
        )


def _between(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else max(0.0, end - begin)
