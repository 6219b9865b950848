"""Container health check: exit 0 when the daemon in this container answers /livez, else 1 and a line that says why.

Asks the operators' Unix socket where there is one (no port, no TLS, no proxy in between), else port 7443 on loopback. Set
`STEERD_HEALTH_URL` where the daemon listens elsewhere, for example `http://127.0.0.1:9000/livez`. Standard library only.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import sys
from pathlib import Path
from urllib.parse import urlsplit

TIMEOUT_S = 3.0
PORT = 7443


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket in place of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


def tcp(scheme: str, host: str, port: int) -> http.client.HTTPConnection:
    """A connection to ourselves: the certificate names the daemon's public name, so it is not checked here."""
    if scheme != "https":
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)


def ways() -> list[tuple[str, http.client.HTTPConnection, str]]:
    """(what to call it, connection, path) of everything to try, in order; the first that answers counts."""
    if url := os.environ.get("STEERD_HEALTH_URL"):
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return [(url, tcp(parts.scheme, parts.hostname or "127.0.0.1", port), parts.path or "/livez")]
    sockets = [os.environ.get("STEERD_SOCKET"), "/run/steerd/steerd.sock"]
    found = [(path, UnixConnection(path), "/livez") for path in sockets if path and Path(path).is_socket()]
    return [
        *found,
        *((f"{scheme}://127.0.0.1:{PORT}", tcp(scheme, "127.0.0.1", PORT), "/livez") for scheme in ("http", "https")),
    ]


def ask(connection: http.client.HTTPConnection, path: str) -> str:
    """Empty when all is well, else what is not."""
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return "" if status == http.client.OK else f"answered {status}"


def main() -> int:
    """0 when one of the ways answers well."""
    wrong = []
    for name, connection, path in ways():
        why = ask(connection, path)
        if not why:
            return 0
        wrong.append(f"{name}: {why}")
    sys.stdout.write(f"not healthy: {'; '.join(wrong)}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
