"""Whose fault is it? Exceptions of the network turned into status, reason and blame.

Rules (decisions.md section 1, probes.md):
- refused, reset, host unreachable, timed out: the target's, in transport;
- descriptors, memory, ports, a missing local network, a resolver that answers for no name: this host's (ERROR with
  `host_error`);
- a certificate that is expired or for another name: the target's, not in transport;
- one that is expired, or not valid yet, by a clock of this host that its references contradict: this host's (ERROR; there is no
  reason to doubt what this host sees of others);
- one whose issuer is not trusted: the target's where a certificate of that name was verified before with the same files, for then
  the target has changed it; else the check's config (ERROR);
- a missing CA file or one whose authorities have all expired, a refused client certificate, a name that does not exist or alone
  gets no answer: the check's config or its zone (ERROR).
Anything else is unknown here and becomes ERROR in `look_safely`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import ssl
from dataclasses import dataclass

import aiohttp

from probes.clock import Phase
from probes.errors import HOST_ERRNOS, MisconfiguredError, chain, errnos, host_errno
from probes.host_clock import HOST_CLOCK
from probes.name_standing import NameTroubleError
from probes.outcome import Status
from probes.tls_context import stale_trust, unproven

__all__ = ["Fault", "fault_of", "raised", "timeout_fault"]

_TARGET = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.ECONNABORTED: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ENOTCONN: "connection reset",
    errno.EHOSTUNREACH: "host unreachable",
    errno.EHOSTDOWN: "host unreachable",
    errno.ETIMEDOUT: "connect timed out",
}
_NO_SUCH_NAME = frozenset(
    code for code in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None)) if isinstance(code, int)
)
_NO_ANSWER = (socket.EAI_AGAIN, socket.EAI_FAIL)
_CLIENT_CERT_REFUSED = re.compile(
    r"(?i)certificate.required|alert.(unknown.ca|bad.certificate|certificate.(unknown|expired))"
)

# X509_V_ERR_* of OpenSSL's x509_vfy.h
_EXPIRED, _NOT_YET, _WRONG_NAME, _WRONG_IP = 10, 9, 62, 64


@dataclass(frozen=True, slots=True)
class Fault:
    """What an exception means. Fields as in `Outcome`."""

    status: Status
    reason: str
    transport: bool = False
    host_error: bool = False
    detail: str | None = None
    unanswered: bool = False


def raised(error: Exception) -> Fault:
    """The fault of an exception that is not of the network: a mistake of ours or of the config, never the target's."""
    if isinstance(error, MisconfiguredError):
        return Fault(Status.ERROR, f"misconfigured probe: {error}", detail=str(error))
    name = type(error).__name__
    host = host_errno(error) is not None
    return Fault(Status.ERROR, f"the probe raised {name}", host_error=host, detail=f"{name}: {error}")


def fault_of(error: BaseException, phase: Phase, *, answered: bool = False, alone: bool = False) -> Fault | None:
    """The fault behind `error`, or None when it is not one of the network's (a bug, then).

    `answered` says that the head of an answer was read already: what breaks after that is no longer transport. `alone` says
    that names but this one do resolve.
    """
    if isinstance(error, MisconfiguredError):
        return raised(error)
    if isinstance(error, (aiohttp.ClientConnectorDNSError, socket.gaierror)):
        return _dns(error, alone=alone)
    # aiohttp's own exceptions only look like those of ssl: what OpenSSL said is in the one they wrap.
    tls = next(
        (e for e in chain(error) if isinstance(e, ssl.SSLError) and not isinstance(e, aiohttp.ClientError)), None
    )
    if tls is not None:
        return _tls(tls)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return Fault(Status.FAIL, "connection closed without an answer", transport=True)
    if isinstance(error, aiohttp.InvalidURL):
        return Fault(Status.ERROR, f"misconfigured probe: not a URL that can be looked at: {error}")
    if isinstance(error, aiohttp.ClientPayloadError):
        return Fault(Status.FAIL, "answer cut short or badly framed", detail=str(error))
    if isinstance(error, aiohttp.ClientResponseError):
        return Fault(Status.FAIL, "malformed answer", detail=error.message)
    if isinstance(error, OSError):
        return _os(error, phase, answered=answered)
    if isinstance(error, (asyncio.IncompleteReadError, aiohttp.ClientConnectionError)):
        return Fault(Status.FAIL, "connection closed", transport=not answered, detail=str(error))
    return None


def timeout_fault(phase: Phase, limit_s: float, *, alone: bool = False) -> Fault:
    """What running out of time in `phase` means; `limit_s` is the time it had. `alone`: names but this one do resolve."""
    detail = f"{limit_s:.3g} s ran out during {phase.value}"
    if phase is Phase.DNS:
        if alone:
            return _name_trouble(detail)
        return Fault(Status.ERROR, "name resolution timed out on this host", host_error=True, detail=detail)
    reason = {
        Phase.START: "connect timed out",
        Phase.CONNECT: "connect timed out",
        Phase.TLS: "TLS handshake timed out",
        Phase.WAIT: "no answer in time",
        Phase.READ: "answer stopped before its end",
    }[phase]
    waited = phase in (Phase.WAIT, Phase.READ)
    return Fault(Status.FAIL, reason, transport=True, detail=detail, unanswered=waited)


def _os(error: OSError, phase: Phase, *, answered: bool) -> Fault | None:
    numbers = [number for part in chain(error) for number in errnos(part)]
    # With several addresses behind a name, one that the target refused says more than one out of reach.
    for number in numbers:
        if number in _TARGET:
            transport = not answered or number == errno.ETIMEDOUT
            reason = _TARGET[number]
            if number == errno.ETIMEDOUT and phase in (Phase.WAIT, Phase.READ):
                reason = "connection timed out"
            return Fault(Status.FAIL, reason, transport=transport, detail=_words(number))
    for number in numbers:
        if number in HOST_ERRNOS:
            reason = f"this host: {_words(number)}"
            return Fault(Status.ERROR, reason, host_error=True, detail=f"errno {errno.errorcode.get(number, number)}")
    return None


def _words(number: int) -> str:
    return os.strerror(number).lower()


def _dns(error: BaseException, *, alone: bool) -> Fault:
    inner = next((e for e in chain(error) if isinstance(e, socket.gaierror)), None)
    if inner is not None and inner.errno in _NO_SUCH_NAME:
        # A name that does not exist says nothing about the server behind it: a wrong URL, or a record that is gone.
        return Fault(
            Status.ERROR,
            "the endpoint's name does not resolve",
            detail=f"{inner.strerror}: fix the endpoint's `url` or its DNS record",
        )
    text = str(inner.strerror if inner is not None else error)
    if isinstance(inner, NameTroubleError) or (alone and inner is not None and inner.errno in _NO_ANSWER):
        return _name_trouble(text)
    return Fault(Status.ERROR, "name resolution failed on this host", host_error=True, detail=text)


def _name_trouble(text: str) -> Fault:
    advice = f"{text}; other names do resolve: look at the DNS servers of its zone"
    return Fault(Status.ERROR, "the endpoint's name gets no answer", detail=advice)


def _tls(error: ssl.SSLError) -> Fault:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error)
    text = error.reason or str(error)
    if _CLIENT_CERT_REFUSED.search(text.replace("_", " ")):
        advice = f"{text}: the endpoint wants another client certificate; set `cert` and `key` of this check"
        return Fault(Status.ERROR, "client certificate refused", detail=advice)
    return Fault(Status.FAIL, "TLS handshake failed", detail=text)


def _certificate(error: ssl.SSLCertVerificationError) -> Fault:
    code, detail = error.verify_code, error.verify_message
    if code in (_EXPIRED, _NOT_YET):
        off_s = HOST_CLOCK.off_s()
        if off_s:
            said = f"{abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} what the references say"
            advice = f"{detail} by a clock that is {said}: set this host's clock"
            return Fault(
                Status.ERROR, "this host's clock is off: the certificate's dates cannot be judged", detail=advice
            )
        if code == _EXPIRED and stale_trust(error):
            reason = "misconfigured probe: every authority that it trusts has expired"
            return Fault(Status.ERROR, reason, detail="set `ca` to the file of authorities that are valid now")
        expired = code == _EXPIRED
        return Fault(Status.FAIL, f"TLS certificate {'expired' if expired else 'not valid yet'}", detail=detail)
    if code in (_WRONG_NAME, _WRONG_IP):
        return Fault(Status.FAIL, "TLS certificate is for another name", detail=detail)
    if unproven(error):
        advice = "set `ca` to its authority's file, or have the endpoint send its intermediate certificates"
        reason = "misconfigured probe: TLS certificate of an authority that is not trusted here"
        return Fault(Status.ERROR, reason, detail=f"{detail}; it never was with these files: {advice}")
    return Fault(
        Status.FAIL, "TLS certificate not trusted", detail=f"{detail}; it was at an earlier look with the same files"
    )
