"""PowerDNS as a fixture: sqlite behind it, one primary zone, the HTTP API and DNS on free loopback ports."""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Literal

import dns.exception
import dns.rcode
import pytest

from tests.support import dnsclient
from tests.support.servers import Process, free_port, require

__all__ = ["Pdns"]

SCHEMAS = (
    "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql",
    "/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql",
)

CONFIG = """
launch=gsqlite3
gsqlite3-database={directory}/pdns.db
local-address=127.0.0.1
local-port={port}
api=yes
api-key={api_key}
webserver=yes
webserver-address=127.0.0.1
webserver-port={api_port}
enable-lua-records={lua}
socket-dir={directory}
daemon=no
guardian=no
setuid=
primary=yes
disable-axfr=no
allow-axfr-ips=127.0.0.1
zone-cache-refresh-interval=0
security-poll-suffix=
distributor-threads=1
"""


class Pdns:
    """One `pdns_server` in the foreground, with zone `zone`."""

    def __init__(self, directory: Path, zone: str = "acme.example", *, lua: bool = True) -> None:
        program = require("pdns_server")
        schema = next((Path(s) for s in SCHEMAS if Path(s).exists()), None)
        if schema is None:
            pytest.skip("PowerDNS has no sqlite backend here (`make test` as root installs it)")
        self.zone, self.host = zone, "127.0.0.1"
        self.port, self.api_port = free_port(), free_port()
        self.api_key = secrets.token_hex(8)
        self.url = f"http://127.0.0.1:{self.api_port}"
        with contextlib.closing(sqlite3.connect(directory / "pdns.db")) as db:
            db.executescript(schema.read_text())
        (directory / "pdns.conf").write_text(
            CONFIG.format(
                directory=directory,
                port=self.port,
                api_port=self.api_port,
                api_key=self.api_key,
                lua="shared" if lua else "no",
            )
        )
        self._process = Process((program, f"--config-dir={directory}"), directory / "pdns.log", directory)
        self._fresh, self._directory = True, directory

    @property
    def server(self) -> str:
        return f"{self.host}:{self.port}"

    def __enter__(self) -> Pdns:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Pdns:
        self._process.start(self._ready)
        if self._fresh:
            name = f"{self.zone}."
            body = {"name": name, "kind": "Master", "nameservers": [f"ns.{name}"]}
            self.api("POST", "/zones", body)
            self.put(f"ns.{self.zone}", "A", ["127.0.0.1"])
            self._fresh = False
        return self

    def stop(self) -> None:
        self._process.stop()

    def tail(self) -> str:
        return self._process.tail()

    def _ready(self) -> bool:
        with contextlib.suppress(OSError, urllib.error.URLError, dns.exception.DNSException):
            self.api("GET", "")
            return dnsclient.ask(self.host, self.port, "example", "SOA", timeout_s=0.2).rcode() is not None
        return False

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """One call as a human would make it with curl. Raises on an error status."""
        request = urllib.request.Request(
            f"{self.url}/api/v1/servers/localhost{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-API-Key": self.api_key, "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            data = answer.read()
        return json.loads(data) if data else None

    def put(self, name: str, kind: str, contents: list[str], ttl_s: int = 30) -> None:
        """Replace one record set; an empty list deletes it."""
        rows = [{"content": c, "disabled": False} for c in contents]
        rrset = {"name": f"{name}.", "type": kind, "ttl": ttl_s, "changetype": "REPLACE", "records": rows}
        self.api("PATCH", f"/zones/{self.zone}.", {"rrsets": [rrset]})

    def util(self, *words: str) -> None:
        """What only pdnsutil can set."""
        argv = [str(require("pdnsutil")), f"--config-dir={self._directory}", *words]
        subprocess.run(argv, check=True, capture_output=True, timeout=10)

    def contents(self, name: str, kind: str) -> list[str]:
        """What the API has at a name."""
        found = self.api("GET", f"/zones/{self.zone}.?rrset_name={name}.")
        return [r["content"] for s in found["rrsets"] if s["type"] == kind for r in s["records"]]

    def query(self, name: str, kind: str = "A", transport: Literal["udp", "tcp"] = "udp") -> list[str]:
        """Sorted values of one answer."""
        return dnsclient.values(self.host, self.port, name, kind, transport)
