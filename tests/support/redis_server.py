"""redis-server as a fixture: a master or a replica, on a free loopback port."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from tests.support.servers import Process, free_port, require

__all__ = ["RedisServer"]


class RedisServer:
    """One `redis-server` in the foreground; `options` are words of its command line."""

    def __init__(self, directory: Path, *options: str, port: int | None = None, tls_port: int | None = None) -> None:
        directory.mkdir(exist_ok=True)
        self.port = port or free_port()
        self.directory = directory
        argv = [
            *(str(require("redis-server")), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory)),
            *("--save", "", "--appendonly", "no", "--daemonize", "no", "--repl-diskless-sync-delay", "0", *options),
        ]
        self.process = Process(argv, directory / "redis.log", directory)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def __enter__(self) -> RedisServer:
        self.process.start(lambda: bool(self.command("PING")))
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def command(self, *words: str) -> str:
        """One command, inline; its answer as it comes, empty when there is none."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), timeout=1) as link,
        ):
            link.sendall((" ".join(words) + "\r\n").encode())
            return link.recv(65536).decode()
        return ""
