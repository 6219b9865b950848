"""What tests need of a server that takes dynamic updates (BIND, Knot): start, stop, ask, and update as somebody else would."""

from __future__ import annotations

import base64
import contextlib
import secrets
from pathlib import Path
from typing import Literal, Self

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.tsig
import dns.update

from tests.support import dnsclient
from tests.support.servers import Process, free_port

__all__ = ["ZONE_FILE", "DynamicServer"]

ZONE_FILE = """$ORIGIN {zone}.
$TTL 300
@ IN SOA ns.{zone}. hostmaster.{zone}. 1 3600 600 1209600 5
@ IN NS ns.{zone}.
ns IN A 127.0.0.1
bystander IN A 192.0.2.99
"""


class DynamicServer:
    """One server process with one dynamic zone. `secret` is that of both keys; key "reader" is known but may not update."""

    _process: Process

    def __init__(self, directory: Path, zone: str) -> None:
        self.zone = zone
        self.host = "127.0.0.1"
        self.port = free_port()
        self.key = "steerd"
        self.secret = base64.b64encode(secrets.token_bytes(32)).decode()
        (directory / "zone.db").write_text(ZONE_FILE.format(zone=zone))

    @property
    def server(self) -> str:
        """HOST:PORT, as the provider's settings want it."""
        return f"{self.host}:{self.port}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        self._process.start(self._ready)
        return self

    def stop(self) -> None:
        self._process.stop()

    def kill(self) -> None:
        self._process.kill()

    def tail(self) -> str:
        return self._process.tail()

    def _ready(self) -> bool:
        with contextlib.suppress(dns.exception.DNSException, OSError, EOFError):
            return dnsclient.ask(self.host, self.port, self.zone, "SOA", timeout_s=0.2).rcode() == dns.rcode.NOERROR
        return False

    def update(self, build: dns.update.UpdateMessage) -> None:
        """Send an update of somebody else's, signed with the same key."""
        build.use_tsig(dns.tsig.Key(self.key, self.secret), algorithm="hmac-sha256")
        answer = dns.query.tcp(build, self.host, timeout=5, port=self.port)
        assert answer.rcode() == dns.rcode.NOERROR, dns.rcode.to_text(answer.rcode())

    def add(self, name: str, kind: str, value: str, ttl_s: int = 30) -> None:
        """Add one record, as a human with nsupdate would. `name` is absolute, without the last dot."""
        message = dns.update.UpdateMessage(self.zone)
        message.add(f"{name}.", ttl_s, kind, value)
        self.update(message)

    def remove(self, name: str, kind: str, value: str) -> None:
        message = dns.update.UpdateMessage(self.zone)
        message.delete(f"{name}.", kind, value)
        self.update(message)

    def query(self, name: str, kind: str = "A", transport: Literal["udp", "tcp"] = "udp") -> list[str]:
        """Sorted values now served."""
        return dnsclient.values(self.host, self.port, name, kind, transport)
