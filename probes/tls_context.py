"""TLS contexts for looks: verified, timed, and honest about whose file is missing.

Reading a system's authorities takes tens of milliseconds and the better part of a megabyte, so looks share their contexts, and a
context is made anew once one of its files has changed: certificates are rotated under a running agent. TLS sessions are no part
of this: they are the connections' own.

Whose fault a certificate of an unknown issuer is shows in what was before. A context remembers the names whose certificates it has
verified: one among them has changed its certificate, which is the target's doing. Of a name that was never verified with these
authorities nothing is known but that the check's config and the server do not fit (`unproven`). A renewed client certificate
changes nothing of that.
"""

from __future__ import annotations

import contextvars
import ipaddress
import os
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from probes.clock import StageClock
from probes.errors import MisconfiguredError
from probes.host_clock import HOST_CLOCK

__all__ = ["CURRENT_CLOCK", "RECHECK_S", "TlsSettings", "stale_trust", "tls_context", "unproven"]

CURRENT_CLOCK: contextvars.ContextVar[StageClock | None] = contextvars.ContextVar("probes_stage_clock", default=None)
"""The clock of the look that runs in this task, so that the context below can tell it when TLS begins."""


_Names = dict[str | None, None]

_NAMES = 4096
"""Names remembered by a context."""


class _ProvingObject(ssl.SSLObject):
    """Tells its context of certificates that it verified, and leaves what the context knows with the error of another."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            cast("_TimedContext", self.context).marks(error, self.server_hostname)
            raise
        cast("_TimedContext", self.context).proves(self.server_hostname)


class _ProvingSocket(ssl.SSLSocket):
    """The same for the wire engine's sockets."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as its parent has it
        try:
            super().do_handshake(block)
        except ssl.SSLCertVerificationError as error:
            cast("_TimedContext", self.context).marks(error, self.server_hostname)
            raise
        cast("_TimedContext", self.context).proves(self.server_hostname)


class _TimedContext(ssl.SSLContext):
    """Marks the start of the handshake. asyncio and uvloop both call `wrap_bio` when the TCP connection stands."""

    sslobject_class = _ProvingObject
    sslsocket_class = _ProvingSocket

    def __init__(self, *_: Any) -> None:
        super().__init__()
        self.proven: _Names = {}

    def proves(self, name: str | None) -> None:
        """A certificate for `name` was verified."""
        if name not in self.proven:
            while len(self.proven) >= _NAMES:
                del self.proven[next(iter(self.proven))]
            self.proven[name] = None

    def marks(self, error: ssl.SSLCertVerificationError, name: str | None) -> None:
        """Leaves with `error` what `unproven` and `stale_trust` say of it."""
        error.__dict__[_UNPROVEN] = name not in self.proven
        error.__dict__[_CONTEXT] = self
        error.__dict__[_NAME] = name

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        clock = CURRENT_CLOCK.get()
        if clock is not None:
            clock.handshaking()
        return super().wrap_bio(*args, **kwargs)


_UNPROVEN, _CONTEXT, _NAME = "probes_unproven", "probes_context", "probes_name"


def unproven(error: ssl.SSLCertVerificationError) -> bool:
    """True where no certificate of that name was ever verified with the authorities that the check trusts now."""
    return bool(error.__dict__.get(_UNPROVEN, False))


def stale_trust(error: ssl.SSLCertVerificationError) -> bool:
    """True where every authority that the check trusts has expired itself: no certificate can be verified by them. Not so where
    the server's own certificate is trusted by itself: that it has expired is the target's doing.
    """
    context = error.__dict__.get(_CONTEXT)
    authorities = cast("list[dict[str, Any]]", context.get_ca_certs()) if isinstance(context, ssl.SSLContext) else []
    if any(_is_for(one, error.__dict__.get(_NAME)) for one in authorities):
        return False
    ends = [ssl.cert_time_to_seconds(str(one["notAfter"])) for one in authorities if "notAfter" in one]
    return bool(ends) and max(ends) < HOST_CLOCK.now()


def _is_for(certificate: dict[str, Any], name: str | None) -> bool:
    """True where a certificate, as `SSLContext.get_ca_certs` has it, is one of the server `name` (a host name or an address)."""
    if name is None:
        return False
    subject = (pair for part in certificate.get("subject", ()) for pair in part)
    common = {value for kind, value in subject if kind == "commonName"}
    others = {value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "IP Address")}
    wanted = {_folded(name), "*." + _folded(name).partition(".")[2]}
    return any(_folded(one) in wanted for one in common | others)


def _folded(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name.strip()))  # OpenSSL writes version 6 in capitals and with all its zeros
    except ValueError:
        return name.lower().rstrip(".")


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
    """A context, or why there is none, and of which files. `until`: when to look at the files again (monotonic seconds). `proven`
    is the context's, and outlives it as long as the authorities stay.
    """

    context: ssl.SSLContext | None
    trouble: str
    marks: _Marks
    until: float
    proven: _Names


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
            proven = found.proven if found is not None and _trusts(found.marks) == _trusts(marks) else {}
            found = _made[key] = _make(settings, marks, proven, named=named, alpn=alpn)
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


def _trusts(marks: _Marks) -> _Marks:
    """Those of the authorities: of `ca`, and the system's behind `cert` and `key`."""
    return marks[:1] + marks[3:]


def _mark(path: str) -> tuple[int, ...] | None:
    try:
        found = Path(path).stat()  # follows links: secrets are mounted as links to a folder that is swapped
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _make(settings: TlsSettings, marks: _Marks, proven: _Names, *, named: bool, alpn: tuple[str, ...]) -> _Made:
    try:
        context = _read(settings)
    except MisconfiguredError as error:
        return _Made(None, str(error), marks, 0.0, proven)
    context.proven = proven
    context.check_hostname = named
    if alpn:
        context.set_alpn_protocols(alpn)
    return _Made(context, "", marks, 0.0, proven)


def _read(settings: TlsSettings) -> _TimedContext:
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
