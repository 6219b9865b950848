"""TLS contexts for looks: verified, timed, and honest about whose file is missing.

Reading a system's authorities takes tens of milliseconds and the better part of a megabyte, so looks share their contexts, and a
context is made anew once one of its files has changed: certificates are rotated under a running agent. TLS sessions are no part
of this: they are the connections' own.
"""

from __future__ import annotations

import contextvars
import os
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from probes.clock import StageClock
from probes.errors import MisconfiguredError

__all__ = ["CURRENT_CLOCK", "RECHECK_S", "TlsSettings", "tls_context"]

CURRENT_CLOCK: contextvars.ContextVar[StageClock | None] = contextvars.ContextVar("probes_stage_clock", default=None)
"""The clock of the look that runs in this task, so that the context below can tell it when TLS begins."""


class _TimedContext(ssl.SSLContext):
    """Marks the start of the handshake. asyncio and uvloop both call `wrap_bio` when the TCP connection stands."""

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        clock = CURRENT_CLOCK.get()
        if clock is not None:
            clock.handshaking()
        return super().wrap_bio(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """`ca`: a file of authorities to trust instead of the system's. `cert`, `key`: files of a client certificate.
    `server_name`: what to ask for and verify instead of the URL's host.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None


RECHECK_S: Final = 1.0
"""How long the files of a context are taken to be what they were, in seconds: not every look of thousands asks the disk."""

_MOST = 256
"""Contexts kept, so that configs that come and go leave no heap of them."""

_Key = tuple[Any, ...]
_Marks = tuple[tuple[int, ...] | None, ...]


@dataclass(slots=True)
class _Made:
    """A context, or why there is none, and of which files. `until`: when to look at the files again (monotonic seconds)."""

    context: ssl.SSLContext | None
    trouble: str
    marks: _Marks
    until: float


_made: dict[_Key, _Made] = {}


def tls_context(settings: TlsSettings, *, named: bool = True, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
    """A verifying client context, TLS 1.2 at least; shared, so not to be changed. `named` False accepts a trusted certificate for
    any name, `alpn` is offered to the server. Another object than before once a file was changed, at most `RECHECK_S` later.

    Raises `MisconfiguredError` naming the file that cannot be used.
    """
    system = (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")) if settings.ca is None else ()
    key = (settings.ca, settings.cert, settings.key, named, alpn, system)
    found, now = _made.get(key), time.monotonic()
    if found is None or now >= found.until:
        marks = _marks(settings)  # before the files are read: a change meanwhile is seen the next time
        if found is None or found.marks != marks or found.context is None:
            _made.pop(key, None)
            while len(_made) >= _MOST:
                del _made[next(iter(_made))]
            found = _made[key] = _make(settings, marks, named=named, alpn=alpn)
        found.until = now + RECHECK_S
    if found.context is None:
        raise MisconfiguredError(found.trouble)
    return found.context


def _marks(settings: TlsSettings) -> _Marks:
    paths = [settings.ca, settings.cert, settings.key]
    if settings.ca is None:
        system = ssl.get_default_verify_paths()
        paths += [system.cafile, system.capath]
    return tuple(None if path is None else _mark(path) for path in paths)


def _mark(path: str) -> tuple[int, ...] | None:
    try:
        found = Path(path).stat()  # follows links: secrets are mounted as links to a folder that is swapped
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _make(settings: TlsSettings, marks: _Marks, *, named: bool, alpn: tuple[str, ...]) -> _Made:
    try:
        context = _read(settings)
    except MisconfiguredError as error:
        return _Made(None, str(error), marks, 0.0)
    context.check_hostname = named
    if alpn:
        context.set_alpn_protocols(alpn)
    return _Made(context, "", marks, 0.0)


def _read(settings: TlsSettings) -> ssl.SSLContext:
    context = _TimedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ca is not None:
        try:
            context.load_verify_locations(cafile=settings.ca)
        except (OSError, ssl.SSLError) as error:
            raise MisconfiguredError(f"`ca: {settings.ca}` cannot be used: {_why(error)}") from error
    else:
        _trust_system(context)
    if settings.cert is not None:
        try:
            context.load_cert_chain(settings.cert, settings.key)
        except (OSError, ssl.SSLError) as error:
            raise MisconfiguredError(f"`cert: {settings.cert}` with its `key` cannot be used: {_why(error)}") from error
    return context


def _trust_system(context: ssl.SSLContext) -> None:
    context.load_default_certs()
    paths = ssl.get_default_verify_paths()
    folder = Path(paths.capath) if paths.capath else None
    # OpenSSL reads the folder only when it verifies, so an empty store is fine as long as the folder has something.
    lazily = folder is not None and folder.is_dir() and any(folder.iterdir())
    if not lazily and not context.cert_store_stats()["x509_ca"]:
        raise MisconfiguredError(
            "this host trusts no certificate authority: install its CA certificates, or set `ca` of this check"
        )


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
