"""TLS contexts for looks: verified, timed, and honest about whose file is missing."""

from __future__ import annotations

import contextvars
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probes.clock import StageClock
from probes.errors import MisconfiguredError

__all__ = ["CURRENT_CLOCK", "TlsSettings", "tls_context"]

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


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """A verifying client context, TLS 1.2 at least. Raises `MisconfiguredError` naming the file that cannot be used."""
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
