"""The one-writer lock of a store file: an exclusive `flock` that names its holder.

The kernel drops the lock when the holder ends, however it ends (SIGKILL included), so holding it proves that whoever
held it before is dead. `flock` needs a local file system, as SQLite's WAL does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from steerd.stores.base import StoreBusy

__all__ = ["FileLock"]


class FileLock:
    """`acquire()` locks or raises `StoreBusy`. The file stays behind: unlinking it would race with a newcomer."""

    def __init__(self, path: Path, holder: str) -> None:
        self.path = path
        self.holder = holder
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock and write who holds it. Raises `StoreBusy`, or OSError when the file cannot be made."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = os.pread(fd, 512, 0).decode("utf-8", "replace").strip()
            os.close(fd)
            raise StoreBusy(
                f"{self.path.with_suffix('')} is in use by {describe(said)}. The sqlite store serves one coordinator: "
                "stop that one first, or give several coordinators `store: {kind: etcd, ...}`"
            ) from None
        except OSError:
            os.close(fd)
            raise
        since = datetime.now(UTC).isoformat(timespec="seconds")
        # The name is a courtesy for the StoreBusy text: on a full disk the lock itself still holds.
        with contextlib.suppress(OSError):
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{self.holder} {os.getpid()} {socket.gethostname()} {since}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Let go; safe to call twice."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def describe(said: str) -> str:
    """The lock file's "name pid host since" in words."""
    parts = said.rsplit(" ", 3)
    if len(parts) != 4:
        return "another coordinator"
    name, pid, host, since = parts
    return f"coordinator {name} (pid {pid} on {host}, since {since})"
