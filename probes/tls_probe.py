"""`tls`: a handshake with a certificate that is valid for the name. Expiring soon warns and never fails."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from probes.address import AddressSettings
from probes.addresses import at_each
from probes.clock import StageClock
from probes.dial import connected
from probes.guard import guarded, result
from probes.host_clock import HOST_CLOCK
from probes.outcome import Layer, Outcome, Status
from probes.settings import Resolve, number, tls_of
from probes.target import Target
from probes.tls_context import tls_context

__all__ = ["TlsProbe", "build"]

_DAY_S = 86400.0


class TlsProbe:
    """See the module's text. Readings: `tls_expiry_days`, until the served certificate expires."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any]) -> None:
        self.layer = layer
        self._address = AddressSettings.of(settings)
        self._tls = tls_of(settings)
        self._slow_s = number(settings, "slow")
        self._warn_days = number(settings, "warn_days", 14.0) or 14.0

    async def look(self, target: Target, deadline: float, *, fresh: bool = False) -> Outcome:  # noqa: ARG002 - always fresh
        """Shake hands once. See `probes.probe.Probe`."""

        async def ask(at: str | None) -> Outcome:
            clock = StageClock()
            return await guarded(self.layer, deadline, clock, self._handshake(target, at, clock))

        return await at_each(self.layer, self._address.name_of(target), deadline, ask)

    async def close(self) -> None:
        """Nothing is kept."""

    async def _handshake(self, target: Target, at: str | None, clock: StageClock) -> Outcome:
        address = self._address.of_target(target, default_port=443, at=at)
        name = self._tls.server_name or address.name
        async with connected(address, clock, tls_context(self._tls), name) as writer:
            days = _days_left(writer.get_extra_info("ssl_object"))
            readings = {} if days is None else {"tls_expiry_days": days}
            soon = days is not None and days <= self._warn_days
            detail = f"the certificate expires in {days:.1f} days: renew it" if soon else None
            if self._slow_s is not None and clock.elapsed_s > self._slow_s:
                reason = f"slower than {self._slow_s:g} s"
                return result(Status.SLOW, self.layer, clock, reason, detail=detail, readings=readings)
            return result(Status.PASS, self.layer, clock, detail=detail, readings=readings)


def _days_left(connection: ssl.SSLObject | None) -> float | None:
    certificate = connection.getpeercert() if connection is not None else None
    if not certificate or "notAfter" not in certificate:
        return None
    return (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - HOST_CLOCK.now()) / _DAY_S


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> TlsProbe:  # noqa: ARG001 - has no secrets
    """See `probes.registry.make`."""
    return TlsProbe(layer, settings)
