"""Exceptions of our own, and what is behind those of others. Imports no client library."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterator

__all__ = ["HOST_ERRNOS", "MisconfiguredError", "SettingError", "chain", "errnos", "host_errno"]

HOST_ERRNOS = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOBUFS,
        errno.ENETDOWN,
        errno.ENETUNREACH,  # no route from this host at all
        errno.EADDRNOTAVAIL,  # no local port left
        errno.EAFNOSUPPORT,  # for example IPv6 switched off
        errno.EACCES,
        errno.EPERM,  # a firewall of this host
    }
)
"""errno values that blame the host a look is made from, never the target."""

_ERRNO_IN_TEXT = re.compile(r"\[Errno (\d+)\]")


class MisconfiguredError(Exception):
    """The check's own settings cannot work; the text says which to fix. Becomes ERROR, never FAIL."""


class SettingError(ValueError):
    """A setting cannot be what it is; the text names it and what it may be."""


def host_errno(error: BaseException) -> int | None:
    """The errno behind `error` that blames this host (descriptors, memory, local network), or None."""
    for part in chain(error):
        if isinstance(part, MemoryError):
            return errno.ENOMEM
        for number in errnos(part):
            if number in HOST_ERRNOS:
                return number
    return None


def chain(error: BaseException) -> Iterator[BaseException]:
    """`error`, what aiohttp wrapped in it, and its causes; each once, at most 10."""
    seen: list[BaseException] = []
    queue: list[BaseException | None] = [error]
    while queue and len(seen) < 10:
        part = queue.pop(0)
        if part is None or any(part is other for other in seen):
            continue
        seen.append(part)
        yield part
        queue += [getattr(part, "os_error", None), getattr(part, "certificate_error", None), part.__cause__]


def errnos(error: BaseException) -> tuple[int, ...]:
    """The errno values that `error` itself carries; none for a resolver's error, whose codes are its own."""
    if not isinstance(error, OSError) or isinstance(error, socket.gaierror):
        return ()
    if error.errno is not None:
        return (error.errno,)
    # Several addresses that failed differently come as one OSError whose text lists them (aiohappyeyeballs).
    return tuple(int(number) for number in _ERRNO_IN_TEXT.findall(str(error)))
