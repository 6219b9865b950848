"""DNS questions without end from a thread, counted by what was answered: for proofs under load. Bounded by whoever stops it."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import Counter
from typing import Self

import dns.message
import dns.rdatatype

__all__ = ["Flood"]

AT_ONCE = 32
"""Questions on their way at the same time."""
WAIT_S = 2.0


class Flood:
    """Asks `host:port` for the A records of `name` over UDP until closed.

    `empty` counts answers without an address, `lost` questions without an answer.
    """

    def __init__(self, host: str, port: int, name: str) -> None:
        self._to = (host, port)
        # Without EDNS and recursion: the answer ends with its last record, and nothing is added to it.
        query = dns.message.make_query(name, "A", use_edns=False)
        query.flags = dns.flags.Flag(0)
        self._wire = query.to_wire()[2:]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stop = threading.Event()
        self._counted: Counter[str] = Counter()
        self.total = self.empty = self.lost = 0
        self.error: BaseException | None = None

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join, 10)  # the server asked may be on this very loop
        assert not self._thread.is_alive()
        assert self.error is None, self.error

    def since_now(self) -> Counter[str]:
        """Start counting addresses anew; up to `AT_ONCE` answers may still be of before."""
        self._counted = Counter()
        return self._counted

    def _run(self) -> None:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.connect(self._to)
                client.settimeout(WAIT_S)
                number = 0
                while not self._stop.is_set():
                    for _ in range(AT_ONCE):
                        number = (number + 1) & 0xFFFF
                        client.send(struct.pack("!H", number) + self._wire)
                    self._take(client)
        except BaseException as error:  # noqa: BLE001  told where the flood is closed
            self.error = error

    def _take(self, client: socket.socket) -> None:
        for left in range(AT_ONCE, 0, -1):
            try:
                data = client.recv(4096)
            except TimeoutError:
                self.lost += left
                return
            found = _addresses(data)
            self.total += 1
            self.empty += not found
            self._counted.update(found)


def _addresses(data: bytes) -> list[str]:
    """The A records of an answer."""
    answers, authority, additional = struct.unpack("!HHH", data[6:12])
    if answers == 1 and not authority and not additional:
        return [socket.inet_ntoa(data[-4:])]
    parsed = dns.message.from_wire(data)
    return [r.to_text() for rrset in parsed.answer if rrset.rdtype == dns.rdatatype.A for r in rrset]
