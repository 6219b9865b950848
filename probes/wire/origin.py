"""Where an exchange connects to."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

__all__ = ["Origin"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where to connect. `tls` and `server_name` for https. `address` is what `connect` takes for `family`."""

    family: socket.AddressFamily
    address: tuple[str, int] | tuple[str, int, int, int]
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
