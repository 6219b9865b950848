"""HAProxy as a fixture: a stats socket per level, and backends whose servers need not exist."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

from tests.support.servers import Process, free_port, require

__all__ = ["HAProxy"]

CONFIG = """
global
  stats socket {admin} mode 600 level admin
  stats socket {operator} mode 600 level operator
  stats socket ipv4@127.0.0.1:{stats_port} level admin
defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s
"""


class HAProxy:
    """One `haproxy` in the foreground. `backends`: name -> {server: (address, weight)}; `lines`: name -> more lines.

    The first backend is behind a frontend on `port`. With `agent_port` every server has a health check and an agent check there.
    """

    def __init__(
        self,
        directory: Path,
        backends: Mapping[str, Mapping[str, tuple[str, int]]],
        lines: Mapping[str, tuple[str, ...]] | None = None,
        agent_port: int | None = None,
    ) -> None:
        # A socket's path holds about 100 bytes at most: it stands right in the directory given.
        self.admin = directory / "admin.sock"
        self.operator = directory / "operator.sock"
        self.stats_port = free_port()
        self.port = free_port()
        self._text = CONFIG.format(admin=self.admin, operator=self.operator, stats_port=self.stats_port)
        first = next(iter(backends))
        self._text += f"frontend front\n  bind 127.0.0.1:{self.port}\n  default_backend {first}\n"
        for name, servers in backends.items():
            self._text += f"backend {name}\n"
            for line in (lines or {}).get(name, ("balance roundrobin",)):
                self._text += f"  {line}\n"
            for server, (address, weight) in servers.items():
                self._text += f"  server {server} {address} weight {weight}"
                if agent_port is not None:
                    self._text += f" check inter 1s fall 10 agent-check agent-addr 127.0.0.1 agent-port {agent_port}"
                    self._text += f' agent-inter 50ms agent-send "lb1 {name}/{server}\\n"'
                self._text += "\n"
        config = directory / "haproxy.cfg"
        config.write_text(self._text)
        self._process = Process((require("haproxy"), "-db", "-f", config), directory / "haproxy.log", directory)

    def __enter__(self) -> HAProxy:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> HAProxy:
        self._process.start(self._ready)
        return self

    def stop(self) -> None:
        self._process.stop()

    def tail(self) -> str:
        return self._process.tail()

    def _ready(self) -> bool:
        try:
            return "Version:" in self.command("show info")
        except OSError:
            return False

    def command(self, line: str) -> str:
        """One line on the admin socket; the whole answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(2)
            client.connect(str(self.admin))
            client.sendall(f"{line}\n".encode())
            answer = b""
            while chunk := client.recv(65536):
                answer += chunk
        return answer.decode()

    def weights(self, backend: str) -> dict[str, int]:
        """Server -> the weight it takes new traffic with, from `show stat` (not what the provider reads)."""
        lines = [line.split(",") for line in self.command(f"show stat {backend} 4 -1").splitlines() if line]
        head = [c.lstrip("# ") for c in lines[0]]
        found = {}
        for line in lines[1:]:
            row = dict(zip(head, line, strict=False))
            found[row["svname"]] = int(row["weight"]) if row["status"].startswith(("UP", "no check")) else 0
        return found
