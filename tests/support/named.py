"""BIND 9 as a fixture: one dynamic zone on 127.0.0.1, updates by a TSIG key made for the occasion."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.dynamic_dns import DynamicServer
from tests.support.servers import Process, require

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


class Named(DynamicServer):
    """One `named` in the foreground. `updates` replaces the zone's `allow-update` clause."""

    def __init__(self, directory: Path, zone: str = "acme.example", updates: str | None = None) -> None:
        super().__init__(directory, zone)
        extra = f'allow-update {{ key "{self.key}"; }};' if updates is None else updates
        (directory / "named.conf").write_text(
            CONFIG.format(directory=directory, port=self.port, key=self.key, secret=self.secret, zone=zone, extra=extra)
        )
        program = require("named")
        if Path("/sys/kernel/security/apparmor/profiles").exists():
            # The distribution's profile confines /usr/sbin/named to its own directories; a copy is not confined.
            program = Path(shutil.copy(program, directory / "named"))
        argv = (program, "-g", "-n", "1", "-c", directory / "named.conf")
        self._process = Process(argv, directory / "named.log", directory)
