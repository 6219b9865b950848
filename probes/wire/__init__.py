"""The wire engine: plain HTTP looks at the cost of their system calls.

Non-blocking sockets under one `epoll`, which the event loop polls as a single descriptor and which is drained in a tight
loop: no transport, no task and no timer per look. Needs Linux (`select.epoll`) and `httptools`; where either is missing
`AVAILABLE` is False and looks go through aiohttp, with the same outcomes.
"""

from __future__ import annotations

import select
from importlib.util import find_spec

__all__ = ["AVAILABLE"]

AVAILABLE = hasattr(select, "epoll") and find_spec("httptools") is not None
"""Whether this host and this installation have what the engine is made of."""
