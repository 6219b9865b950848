"""`dns`: a DNS server answers for a name, as it should."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from probes.address import AddressSettings
from probes.clock import StageClock
from probes.dial import resolved
from probes.errors import SettingError
from probes.faults import Fault
from probes.guard import guarded, outcome_of, result
from probes.outcome import Layer, Outcome, Status
from probes.settings import Resolve, number, strings, text
from probes.target import Target

__all__ = ["DnsProbe", "build"]


class DnsProbe:
    """See the module's text. The target is the server that is asked. Readings: `answers`, `ttl_s`."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any]) -> None:
        self.layer = layer
        self._address = AddressSettings.of(settings)
        self._expect = strings(settings, "expect")
        self._tcp = text(settings, "transport", "udp") == "tcp"
        self._slow_s = number(settings, "slow")
        kind = text(settings, "type", "A") or "A"
        name = text(settings, "name") or ""
        try:
            self._type = dns.rdatatype.from_text(kind)
        except (dns.rdatatype.UnknownRdatatype, ValueError) as error:
            raise SettingError(f"type: {kind!r} is not a record type: write A, AAAA, CNAME, ...") from error
        try:
            self._name = dns.name.from_text(name)
        except dns.exception.DNSException as error:
            raise SettingError(f"name: {name!r} is not a DNS name: {error}") from error

    async def look(self, target: Target, deadline: float, *, fresh: bool = False) -> Outcome:  # noqa: ARG002 - always fresh
        """Ask once. See `probes.probe.Probe`."""
        clock = StageClock()
        return await guarded(self.layer, deadline, clock, self._ask(target, clock))

    async def close(self) -> None:
        """Nothing is kept."""

    async def _ask(self, target: Target, clock: StageClock) -> Outcome:
        found = await resolved(self._address.of_target(target, default_port=53), clock)
        clock.dialling()
        host, port = found[0][1]
        query = dns.message.make_query(self._name, self._type)
        clock.sent()
        try:
            if self._tcp:
                answer = await dns.asyncquery.tcp(query, host, port=port)
            else:
                # Datagrams from elsewhere are noise on an open port, not the server's answer.
                answer, _ = await dns.asyncquery.udp_with_fallback(query, host, port=port, ignore_unexpected=True)
        except EOFError:
            fault = Fault(Status.FAIL, "connection closed without an answer", transport=True)
            return outcome_of(fault, self.layer, clock)
        except dns.exception.DNSException as error:
            return result(Status.FAIL, self.layer, clock, "malformed answer", detail=f"{type(error).__name__}: {error}")
        clock.first_byte()
        return self._judge(answer, clock)

    def _judge(self, answer: dns.message.Message, clock: StageClock) -> Outcome:
        code = answer.rcode()
        if code != dns.rcode.NOERROR:
            detail = f"asked for {self._name} {dns.rdatatype.to_text(self._type)}"
            return result(Status.FAIL, self.layer, clock, f"DNS {dns.rcode.to_text(code)}", detail=detail)
        sets = [rrset for rrset in answer.answer if rrset.rdtype == self._type]
        values = {value.to_text().rstrip(".").lower() for rrset in sets for value in rrset}
        if not values:
            return result(Status.FAIL, self.layer, clock, "no answer records", detail=f"asked for {self._name}")
        wanted = {value.rstrip(".").lower() for value in self._expect}
        if wanted and not wanted & values:
            detail = f"expected one of {', '.join(sorted(wanted))}; got {', '.join(sorted(values)[:5])}"
            return result(Status.FAIL, self.layer, clock, "other answers than expected", detail=detail)
        readings = {"answers": float(len(values)), "ttl_s": float(min(rrset.ttl for rrset in sets))}
        if self._slow_s is not None and clock.elapsed_s > self._slow_s:
            return result(Status.SLOW, self.layer, clock, f"slower than {self._slow_s:g} s", readings=readings)
        return result(Status.PASS, self.layer, clock, readings=readings)


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> DnsProbe:  # noqa: ARG001 - has no secrets
    """See `probes.registry.make`."""
    return DnsProbe(layer, settings)
