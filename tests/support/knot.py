"""Knot DNS as a fixture: one dynamic zone on 127.0.0.1, updates by a TSIG key made for the occasion."""

from __future__ import annotations

from pathlib import Path

from tests.support.dynamic_dns import DynamicServer
from tests.support.servers import Process, require

__all__ = ["Knot"]

CONFIG = """
server:
  rundir: "{directory}"
  listen: "127.0.0.1@{port}"
  udp-workers: 1
  tcp-workers: 2
  background-workers: 1
log:
  - target: stderr
    any: info
database:
  storage: "{directory}"
key:
  - id: "{key}"
    algorithm: hmac-sha256
    secret: "{secret}"
  - id: "reader"
    algorithm: hmac-sha256
    secret: "{secret}"
acl:
  - id: updates
    key: "{key}"
    action: update
{updates}
zone:
  - domain: "{zone}"
    storage: "{directory}"
    file: zone.db
    acl: [{acl}]
"""


class Knot(DynamicServer):
    """One `knotd` in the foreground. `updates` are more lines of the ACL that lets the key in; None: no ACL at all."""

    def __init__(self, directory: Path, zone: str = "acme.example", updates: str | None = "") -> None:
        super().__init__(directory, zone)
        (directory / "knot.conf").write_text(
            CONFIG.format(
                directory=directory, port=self.port, key=self.key, secret=self.secret, zone=zone,
                updates=updates or "", acl="" if updates is None else "updates",
            )
        )  # fmt: skip
        self._process = Process((require("knotd"), "-c", directory / "knot.conf"), directory / "knot.log", directory)
