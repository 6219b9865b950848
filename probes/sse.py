"""Server-sent events out of a byte stream, whatever way it is cut into pieces. Bounded; no I/O.

Follows the HTML standard, section 9.2.6: lines end in LF, CRLF or CR; `data:` lines of one event join with a line feed; an
event ends at an empty line; lines that begin with a colon are comments.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Event", "EventStream", "TooLongError"]


class TooLongError(Exception):
    """A line or the whole stream is over its bound; the text says which."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its `name` ("message" when it has none) and its joined `data`."""

    name: str
    data: str


class EventStream:
    """Feed bytes, get events. Bytes that are not UTF-8 become replacement characters."""

    def __init__(self, *, max_line: int = 65536, max_bytes: int = 262144) -> None:
        self._max_line = max_line
        self._max_bytes = max_bytes
        self._size = 0
        self._line = bytearray()
        self._after_cr = False
        self._begun = False
        self._name = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[Event]:
        """The events that `piece` completes. Raises `TooLongError`."""
        if not piece:
            return []
        self._size += len(piece)
        if self._size > self._max_bytes:
            raise TooLongError(f"stream over {self._max_bytes} bytes")
        if self._after_cr:
            # The LF of a CRLF may come with the next piece.
            piece = piece.removeprefix(b"\n")
            self._after_cr = False
        found: list[Event] = []
        lines = self._split(piece)
        for line in lines[:-1]:
            self._line += line
            self._bound()
            self._take(found)
        self._line += lines[-1]
        self._bound()
        return found

    def end(self) -> list[Event]:
        """The event that stands unfinished when the stream ends: servers exist that leave out the last empty line."""
        found: list[Event] = []
        if self._line:
            self._take(found)
        self._dispatch(found)
        return found

    def _split(self, piece: bytes) -> list[bytes]:
        self._after_cr = piece.endswith(b"\r")
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return piece.split(b"\n")

    def _bound(self) -> None:
        if len(self._line) > self._max_line:
            raise TooLongError(f"line over {self._max_line} bytes")

    def _take(self, found: list[Event]) -> None:
        line = self._line.decode("utf-8", "replace")
        self._line.clear()
        if not self._begun:
            line = line.removeprefix("\ufeff")
            self._begun = True
        if not line:
            self._dispatch(found)
            return
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value

    def _dispatch(self, found: list[Event]) -> None:
        if self._data:
            found.append(Event(self._name or "message", "\n".join(self._data)))
        self._name = ""
        self._data = []
