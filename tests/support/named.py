"""BIND 9 as a fixture: one dynamic zone on 127.0.0.1, updates by a TSIG key made for the occasion."""

from __future__ import annotations

import base64
import contextlib
import secrets
import shutil
from pathlib import Path
from typing import Literal

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.tsig
import dns.update

from tests.support import dnsclient
from tests.support.servers import Process, free_port, require

__all__ = ["Named"]

CONFIG = """
options {{
  directory "{directory}";
  listen-on port {port} {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
  pid-file none;
  lock-file none;
  session-keyfile none;
  dump-file "{directory}/dump.db";
  recursion no;
  notify no;
  allow-transfer {{ none; }};
  dnssec-validation no;
  empty-zones-enable no;
}};
controls {{ }};
key "{key}" {{ algorithm hmac-sha256; secret "{secret}"; }};
key "reader" {{ algorithm hmac-sha256; secret "{secret}"; }};
zone "{zone}" {{ type primary; file "zone.db"; {extra} }};
"""

ZONE = """$TTL 300
@ IN SOA ns.{zone}. hostmaster.{zone}. 1 3600 600 1209600 5
@ IN NS ns.{zone}.
ns IN A 127.0.0.1
bystander IN A 192.0.2.99
"""


class Named:
    """One `named` in the foreground. `secret` is that of both keys; key "reader" is known but may not update.

    `updates` replaces the zone's `allow-update` clause.
    """

    def __init__(self, directory: Path, zone: str = "acme.example", updates: str | None = None) -> None:
        self.zone = zone
        self.host = "127.0.0.1"
        self.port = free_port()
        self.key = "steerd"
        self.secret = base64.b64encode(secrets.token_bytes(32)).decode()
        extra = f'allow-update {{ key "{self.key}"; }};' if updates is None else updates
        (directory / "named.conf").write_text(
            CONFIG.format(directory=directory, port=self.port, key=self.key, secret=self.secret, zone=zone, extra=extra)
        )
        (directory / "zone.db").write_text(ZONE.format(zone=zone))
        program = require("named")
        if Path("/sys/kernel/security/apparmor/profiles").exists():
            # The distribution's profile confines /usr/sbin/named to its own directories; a copy is not confined.
            program = Path(shutil.copy(program, directory / "named"))
        argv = (program, "-g", "-n", "1", "-c", directory / "named.conf")
        self._process = Process(argv, directory / "named.log", directory)

    @property
    def server(self) -> str:
        """HOST:PORT, as the provider's settings want it."""
        return f"{self.host}:{self.port}"

    def __enter__(self) -> Named:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Named:
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
