"""The engine's inputs in a bounded pair of local files, so that any decision can be replayed.

`PATH` grows to half the bound, then becomes `PATH.old` and a new one begins. Each begins with what an engine needs to start
there (config, leadership), which `opening` provides. A record is length, CRC-32, msgpack of [seconds, tag, event]; a torn end
is cut off at the next start. The ring is an aid: when its disk fails it stops and says so, and steering goes on.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, get_args
from zlib import crc32

import msgspec

from steerd.core.events import ApplyFinished, BallotReceived, Event, RouteObserved, VerifyFinished
from steerd.model.vote import Ballot, Heartbeat

__all__ = ["RecordedEvent", "Ring", "read"]

log = logging.getLogger(__name__)

MAGIC = b"steerd ring 1\n"
DEFAULT_BYTES = 64 * 1024 * 1024
MOST_RECORD = 64 * 1024 * 1024
FLUSH_EVERY_S = 1.0

_PREFIX = struct.Struct("<II")
_TYPES: dict[str, type[Any]] = {t.__name__: t for t in get_args(Event) if t is not BallotReceived}
_TYPES |= {
    t.__name__: t for t in (Ballot, Heartbeat)
}  # recorded as they are: a union of two needs a tag, and this is it
_ENCODER = msgspec.msgpack.Encoder(enc_hook=repr)
_ENVELOPE = msgspec.msgpack.Decoder(tuple[float, str, bool, msgspec.Raw])
_DECODERS = {tag: msgspec.msgpack.Decoder(cls) for tag, cls in _TYPES.items()}

Opening = Callable[[], list[tuple[Event, float]]]


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One input of the engine at steady time `now`. `starts`: a new engine begins with it."""

    event: Event
    now: float
    starts: bool


class Ring:
    """Appends to the files at `path`; at most `most_bytes` in both together."""

    def __init__(self, path: str | Path, most_bytes: int = DEFAULT_BYTES) -> None:
        self.path = Path(path)
        self.problem: str | None = None
        """Why nothing is recorded any more."""
        self._half = max(most_bytes // 2, 4096)
        self._file: BinaryIO | None = None
        self._size = 0
        self._flushed_at = 0.0
        self._starts = True

    def open(self) -> None:
        """Go on behind what an earlier process recorded. Problems end up in `problem`."""
        self._guarded(self._open)

    def append(self, event: Event, now: float, opening: Opening) -> None:
        """Record one input; when a new file begins, `opening()` is recorded before it."""
        self._guarded(lambda: self._append(event, now, opening))

    def close(self) -> None:
        """Write out what is buffered; safe to call twice."""
        self._guarded(self._close)

    def _guarded(self, work: Callable[[], None]) -> None:
        if self.problem is not None:
            return
        try:
            work()
        except (OSError, ValueError) as error:
            said = f"{self.path}: {error.strerror}" if isinstance(error, OSError) else str(error)
            self.problem = f"{said}: decisions from now on cannot be replayed"
            log.error("%s", self.problem)  # noqa: TRY400  the text says all there is; a traceback would not
            file, self._file = self._file, None
            if file is not None:
                with suppress(OSError):  # it failed already, and that was told
                    file.close()

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(fd, "r+b", buffering=256 * 1024)
        self._size = max((end for _, end in _records(self._file, self.path)), default=0)
        if self._size == 0:
            self._size = len(MAGIC)
            self._file.seek(0)
            self._file.write(MAGIC)
        self._file.truncate(self._size)
        self._file.seek(self._size)

    def _append(self, event: Event, now: float, opening: Opening) -> None:
        if self._file is None:
            return
        data = _record(event, now, starts=self._starts)
        if self._size + len(data) > self._half and self._size > len(MAGIC):
            self._rotate()
            self._starts = True
            for early, at in opening():
                self._write(_record(early, at, starts=self._starts))
                self._starts = False
            data = _record(event, now, starts=self._starts)
        self._starts = False
        self._write(data)
        if now - self._flushed_at >= FLUSH_EVERY_S:
            self._file.flush()
            self._flushed_at = now

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write(data)
        self._size += len(data)

    def _rotate(self) -> None:
        self._close()
        self.path.replace(self.path.with_name(self.path.name + ".old"))
        self._open()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def read(path: str | Path) -> Iterator[RecordedEvent]:
    """Everything recorded at `path`, oldest first. Raises FileNotFoundError, or ValueError when it is no ring file."""
    path = Path(path)
    old = path.with_name(path.name + ".old")
    for part in (old, path) if old.exists() else (path,):
        with part.open("rb") as file:
            for body, _ in _records(file, part):
                now, tag, starts, event = _ENVELOPE.decode(body)
                found = _DECODERS[tag].decode(event)
                frame = isinstance(found, Ballot | Heartbeat)
                yield RecordedEvent(BallotReceived(found) if frame else found, now, starts)


def _record(event: Event, now: float, *, starts: bool) -> bytes:
    recorded = event.frame if isinstance(event, BallotReceived) else event
    if isinstance(event, RouteObserved | ApplyFinished | VerifyFinished) and event.observed is not None:
        # The token is the provider's own and no matter of the engine: it may hold what cannot be encoded.
        recorded = replace(event, observed=replace(event.observed, token=None))
    body = _ENCODER.encode((now, type(recorded).__name__, starts, recorded))
    return _PREFIX.pack(len(body), crc32(body)) + body


def _records(file: BinaryIO, path: Path) -> Iterator[tuple[bytes, int]]:
    """(body, offset behind it) of each whole record; stops at a torn one."""
    magic = file.read(len(MAGIC))
    if not magic:
        return
    if magic != MAGIC:
        raise ValueError(f"{path} is no ring file of this version of steerd")
    end = len(MAGIC)
    while len(prefix := file.read(_PREFIX.size)) == _PREFIX.size:
        size, crc = _PREFIX.unpack(prefix)
        if size > MOST_RECORD:
            return
        body = file.read(size)
        if len(body) < size or crc32(body) != crc:
            return
        end += _PREFIX.size + size
        yield body, end
