"""What came back: read to a bound, parsed by llhttp (`httptools`), never decompressed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import httptools
from multidict import CIMultiDict

from probes.faults import Fault
from probes.outcome import Status

__all__ = ["Answer", "QuickParser", "Reader"]

HEAD_LIMIT: Final = 32_768
"""Bytes of status line and headers together; as many of trailers, or of chunk extensions in a row."""

_PER_BODY_BYTE: Final = 6
"""Bytes received for one of the body where a server frames each as a chunk of its own."""


_SHORT: Final = 1024
_KNOWN: Final = 256
"""Answers of at most `_SHORT` bytes are remembered, this many."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `whole` is False where the body went on past the bound. Header values are text, latin-1 at worst."""

    status: int
    headers: CIMultiDict[str]
    body: bytes
    whole: bool


_TOO_LONG: Final = Fault(Status.FAIL, "malformed answer", detail=f"headers over {HEAD_LIMIT} bytes")
_TOO_MUCH_FRAMING: Final = Fault(Status.FAIL, "answer too long", detail="trailers or chunk extensions without an end")


def _parser(reader: object, **more: bool) -> Any:
    """A parser that takes what aiohttp's and most clients take: lines that end in a bare line feed (RFC 9112, section 2.2), folded
    and odd header values, spaces after a chunk's size.
    """
    parser = httptools.HttpResponseParser(reader)
    parser.set_dangerous_leniencies(
        lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True, **more
    )
    return parser


class QuickParser:
    """Parses answers that come in one piece, one after the other, from any connection; keeps no state between them.

    `status_of` gives the status and whether the connection may be used again, or 0 for whatever is not exactly one
    whole answer in one piece: those are read by a `Reader`, from their start. What it says depends on the bytes alone, so short
    answers are remembered: those of well servers are the same to the byte until the second in their Date is over.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[int, bool]] = {}
        self._renew()

    def _renew(self) -> None:
        self._begun = self._ended = self._status = 0
        self._keep = False
        # An answer that closes its connection is followed by the answer of another connection here.
        self._parser: Any = _parser(self, lenient_keep_alive=True)

    def on_message_begin(self) -> None:
        """llhttp: an answer starts."""
        self._begun += 1

    def on_message_complete(self) -> None:
        """llhttp: an answer is whole."""
        self._ended += 1
        self._status = self._parser.get_status_code()
        self._keep = self._parser.should_keep_alive()

    def status_of(self, data: bytes) -> tuple[int, bool]:
        """(status, keep) of `data`."""
        if len(data) > _SHORT:
            return self._parsed(data)
        found = self._known.get(data)
        if found is None:
            found = self._parsed(data)
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[data] = found
        return found

    def _parsed(self, data: bytes) -> tuple[int, bool]:
        self._begun = self._ended = 0
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._renew()
            return 0, False
        # A zero byte may be the body's, or a header's that nobody takes: the reader tells.
        if self._begun != 1 or self._ended != 1 or 0 in data or len(data) > HEAD_LIMIT or self._status < 200:
            self._renew()
            return 0, False
        return self._status, self._keep


class Reader:
    """Reads one answer piece by piece. Memory stays near `limit` bytes of body and `HEAD_LIMIT` of head, and every byte
    received is counted, of whatever it is: an answer ends after `_PER_BODY_BYTE * limit + 2 * HEAD_LIMIT` of them.
    """

    def __init__(self, limit: int, *, bodiless: bool) -> None:
        self._limit = limit
        self._bodiless = bodiless
        self._begin()
        self._parser: Any = _parser(self)
        self._head_bytes = 0
        self._received = 0
        self._unheard = 0  # bytes since the last of the head or the body
        self._extra = False
        self.done = False
        self.keep = False
        self.fault: Fault | None = None

    def _begin(self) -> None:
        self._headers: CIMultiDict[str] = CIMultiDict()
        self._head_size = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._whole = True
        self._status = 0
        self._headed = False

    @property
    def headed(self) -> bool:
        """The head of the answer was read."""
        return self._headed

    @property
    def status(self) -> int:
        """The status, once `headed`."""
        return self._status

    def on_message_begin(self) -> None:
        """llhttp: an answer starts; after a whole one that is more than was asked for."""
        if self.done:
            self._extra = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """llhttp: one header, or a trailer, which is nobody's business."""
        if self._headed or self.done or self.fault is not None:
            return
        self._head_size += len(name) + len(value) + 4
        if self._head_size > HEAD_LIMIT:
            self.fault = _TOO_LONG
        elif b"\0" in value:
            self.fault = _malformed("a zero byte in a header", headed=False)
        else:
            self._headers.add(name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))

    def on_headers_complete(self) -> None:
        """llhttp: the head is whole."""
        if self.done:
            return
        self._status = self._parser.get_status_code()
        self._headed = True
        if self._bodiless and self._status >= 200:
            self.done = True  # llhttp cannot be told that no body follows, so its state ends here

    def on_body(self, data: bytes) -> None:
        """llhttp: a piece of the body."""
        if self.done:
            return
        room = self._limit - self._size
        self._size += len(data)
        self._parts.append(data[:room] if len(data) > room else data)
        if self._size > self._limit:
            self._whole, self.done = False, True

    def on_message_complete(self) -> None:
        """llhttp: the answer is whole."""
        if self.done:
            return
        if 100 <= self._status < 200 and self._status != 101:
            self._begin()  # "go on": the answer proper follows
            return
        self.done = True
        self.keep = bool(self._parser.should_keep_alive())

    def feed(self, data: bytes) -> bool:
        """Takes the next bytes. True when the answer is whole, at its bound, or broken (`fault`)."""
        headed, size = self._headed, self._size
        if not headed:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.done, self.keep = True, False  # 101: a status like any other, to a request that never asked for it
        except httptools.HttpParserError as error:
            if not self.done and self.fault is None:
                self.fault = _malformed(str(error), headed=self._headed)
            self.keep = False
        if not self.done and not self._headed and self._head_bytes > HEAD_LIMIT and self.fault is None:
            self.fault = _TOO_LONG
        self._received += len(data)
        self._unheard = self._unheard + len(data) if headed and size == self._size else 0
        most = _PER_BODY_BYTE * self._limit + 2 * HEAD_LIMIT
        if not self.done and self.fault is None and (self._unheard > HEAD_LIMIT or self._received > most):
            self.fault = _TOO_MUCH_FRAMING
        if self.done and (self._extra or not self._whole or self._bodiless):
            self.keep = False
        return self.done or self.fault is not None

    def closed(self) -> Fault | None:
        """The peer closed: None where that was the answer's end, else what it means."""
        if not self._headed:
            return Fault(Status.FAIL, "connection closed without an answer", transport=True)
        chunked = "chunked" in self._headers.get("Transfer-Encoding", "").lower()
        if chunked or "Content-Length" in self._headers:
            return Fault(Status.FAIL, "answer cut short or badly framed", detail="closed before its end")
        self.done, self.keep = True, False
        return None

    def answer(self) -> Answer:
        """The answer, once `done`."""
        return Answer(self._status, self._headers, b"".join(self._parts), self._whole)


def _malformed(text: str, *, headed: bool) -> Fault:
    reason = "answer cut short or badly framed" if headed else "malformed answer"
    return Fault(Status.FAIL, reason, detail=text)
