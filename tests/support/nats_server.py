"""nats-server as a fixture, with or without JetStream."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.support.servers import Process, free_port, require

__all__ = ["NatsServer"]


class NatsServer:
    """One `nats-server`; `config` is added to its file."""

    def __init__(self, directory: Path, config: str = "", *, jetstream: bool = True) -> None:
        directory.mkdir(exist_ok=True)
        self.port = free_port()
        store = f'jetstream {{ store_dir: "{directory}/store" }}\n' if jetstream else ""
        file = directory / "nats.conf"
        file.write_text(f"listen: 127.0.0.1:{self.port}\n{store}{config}\n")
        self.process = Process((require("nats-server"), "-c", file), directory / "nats.log", directory)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def __enter__(self) -> NatsServer:
        self.process.start(self._ready)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def _ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as link:
                return link.recv(4) == b"INFO"
        except OSError:
            return False
