"""Connection strings of PostgreSQL in both forms, and how TLS is asked for (libpq, sections 34.1.1 and 34.1.2)."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from probes.address import is_address
from probes.errors import MisconfiguredError
from probes.tls_context import TlsSettings, tls_context

__all__ = ["HOW", "keywords", "tls_of_mode"]

HOW = "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or host=HOST port=PORT user=USER password=PASSWORD dbname=NAME"
_PAIR = re.compile(r"\s*([a-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))(?=\s|$)")
_KNOWN = frozenset(
    {
        *("host", "port", "user", "password", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey"),
        *("application_name", "connect_timeout", "options", "target_session_attrs", "gssencmode", "channel_binding"),
    }
)


def keywords(dsn: str) -> dict[str, str]:
    """The keywords of a connection string. Raises `MisconfiguredError`, without repeating any of it."""
    text = dsn.strip()
    try:
        found = _of_url(text) if "://" in text else _of_pairs(text)
    except ValueError:
        raise MisconfiguredError(f"`dsn` cannot be read: {HOW}") from None
    unknown = sorted(found.keys() - _KNOWN)
    if unknown:
        raise MisconfiguredError(f"`dsn` has {unknown[0]}, which this check does not know: leave it out")
    if "," in found.get("host", "") or "," in found.get("port", ""):
        raise MisconfiguredError("`dsn` names several hosts: a look is at one, so make an instance of each")
    return found


def _of_url(text: str) -> dict[str, str]:
    parts = urlsplit(text)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("scheme")
    found = {
        "host": parts.hostname and unquote(parts.hostname),
        "port": str(parts.port) if parts.port else None,
        "user": parts.username and unquote(parts.username),
        "password": parts.password and unquote(parts.password),
        "dbname": unquote(parts.path.lstrip("/")),
    }
    return {key: value for key, value in found.items() if value} | dict(parse_qsl(parts.query, strict_parsing=False))


def _of_pairs(text: str) -> dict[str, str]:
    found, end = {}, 0
    while end < len(text):
        pair = _PAIR.match(text, end)
        if pair is None:
            raise ValueError("pair")
        value = pair[2] if pair[2] is not None else pair[3]
        found[pair[1]], end = re.sub(r"\\(.)", r"\1", value), pair.end()
    if not found:
        raise ValueError("empty")
    return found


@dataclass(frozen=True, slots=True)
class _Mode:
    """What an `sslmode` asks for: of the certificate, and of its name."""

    verified: bool
    named: bool


_MODES = {"require": _Mode(False, False), "verify-ca": _Mode(True, False), "verify-full": _Mode(True, True)}


def tls_of_mode(found: Mapping[str, str], settings: TlsSettings, host: str) -> dict[str, Any]:
    """How the client is to use TLS. Verified in full unless the DSN says otherwise; to this very host, or over a Unix
    socket, TLS is as the server likes. Raises `MisconfiguredError`.
    """
    mode = found.get("sslmode")
    ours = TlsSettings(
        settings.ca or found.get("sslrootcert"),
        settings.cert or found.get("sslcert"),
        settings.key or found.get("sslkey"),
    )
    if mode is None and ours.ca is None and _local(host):
        return {"ssl": "prefer"}
    if mode in ("disable", "allow", "prefer"):
        return {"ssl": "disable" if mode == "disable" else "prefer"}
    wanted = _MODES.get(mode or "verify-full")
    if wanted is None:
        raise MisconfiguredError(f"`dsn` has sslmode={mode}: write one of disable, prefer, {', '.join(_MODES)}")
    if ours.ca in (None, "system"):
        ours = TlsSettings(None, ours.cert, ours.key)
    if wanted.verified:
        return {"ssl": tls_context(ours, named=wanted.named)}
    # The user asks for a channel without proof of who is at its other end.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if ours.cert is not None:
        context.load_cert_chain(ours.cert, ours.key)
    return {"ssl": context}


def _local(host: str) -> bool:
    return host.startswith("/") or host == "localhost" or (is_address(host) and host in ("127.0.0.1", "::1"))
