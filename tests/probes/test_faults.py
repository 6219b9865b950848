"""Whose fault an exception is. What can be provoked for real is in the other files; these are the rest."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import aiohttp
import pytest

from probes.clock import Phase
from probes.errors import MisconfiguredError
from probes.faults import fault_of, timeout_fault
from probes.outcome import Status


def _os(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "number",
    [
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.EHOSTDOWN,
        errno.ETIMEDOUT,
        errno.EPIPE,
    ],
)
def test_the_targets_own_are_fail_in_transport(number: int) -> None:
    fault = fault_of(_os(number), Phase.CONNECT)
    assert fault is not None
    assert (fault.status, fault.transport, fault.host_error) == (Status.FAIL, True, False)


@pytest.mark.parametrize(
    "number",
    [
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOBUFS,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EADDRNOTAVAIL,
        errno.EPERM,
        errno.EACCES,
        errno.EAFNOSUPPORT,
    ],
)
def test_the_hosts_own_never_blame_the_target(number: int) -> None:
    fault = fault_of(_os(number), Phase.CONNECT)
    assert fault is not None
    assert (fault.status, fault.transport, fault.host_error) == (Status.ERROR, False, True)


def test_several_addresses_one_refused_is_the_targets() -> None:
    """aiohappyeyeballs joins what several addresses failed with into the text of one OSError."""
    mixed = OSError("Multiple exceptions: [Errno 101] Connect call failed ('::1', 1), [Errno 111] Connect call failed")
    fault = fault_of(mixed, Phase.CONNECT)
    assert fault is not None
    assert (fault.status, fault.reason) == (Status.FAIL, "connection refused")


def test_several_addresses_all_out_of_reach_is_the_hosts() -> None:
    fault = fault_of(OSError("Multiple exceptions: [Errno 101] a, [Errno 97] b"), Phase.CONNECT)
    assert fault is not None
    assert (fault.status, fault.host_error) == (Status.ERROR, True)


@pytest.mark.parametrize(
    ("code", "host_error"),
    [(socket.EAI_AGAIN, True), (socket.EAI_FAIL, True), (socket.EAI_SYSTEM, True), (socket.EAI_NONAME, False)],
)
def test_a_name_that_cannot_be_resolved_never_blames_the_target(code: int, host_error: bool) -> None:
    """A resolver that fails is this host's; a name that does not exist is the config's or the zone's."""
    fault = fault_of(socket.gaierror(code, "no"), Phase.DNS)
    assert fault is not None
    assert (fault.status, fault.host_error, fault.transport) == (Status.ERROR, host_error, False)


def test_time_that_runs_out_while_resolving_is_the_hosts() -> None:
    fault = timeout_fault(Phase.DNS, 1.0)
    assert (fault.status, fault.host_error) == (Status.ERROR, True)


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.DNS])
def test_time_that_runs_out_elsewhere_is_the_targets_in_transport(phase: Phase) -> None:
    fault = timeout_fault(phase, 1.0)
    assert (fault.status, fault.transport, fault.host_error) == (Status.FAIL, True, False)


def test_a_misconfigured_probe_says_what_to_fix() -> None:
    fault = fault_of(MisconfiguredError("`ca: /x` cannot be used"), Phase.START)
    assert fault is not None
    assert (fault.status, fault.host_error) == (Status.ERROR, False)
    assert "/x" in (fault.detail or "")


def test_a_refused_client_certificate_is_ours_to_fix() -> None:
    error = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required (_ssl.c:2580)")
    error.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    fault = fault_of(error, Phase.WAIT)
    assert fault is not None
    assert fault.status is Status.ERROR
    assert "`cert`" in (fault.detail or "")


def test_what_breaks_after_the_answer_began_is_not_transport() -> None:
    fault = fault_of(_os(errno.ECONNRESET), Phase.READ, answered=True)
    assert fault is not None
    assert (fault.status, fault.transport) == (Status.FAIL, False)


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("Session is closed"), _os(errno.EINVAL)])
def test_what_is_not_the_networks_is_not_judged_here(error: Exception) -> None:
    assert fault_of(error, Phase.WAIT) is None


def test_a_wrong_url_is_the_configs() -> None:
    fault = fault_of(aiohttp.InvalidURL("http://"), Phase.START)
    assert fault is not None
    assert fault.status is Status.ERROR


@pytest.mark.parametrize(
    ("code", "host_error"), [(socket.EAI_AGAIN, False), (socket.EAI_FAIL, False), (socket.EAI_SYSTEM, True)]
)
def test_a_name_that_alone_gets_no_answer_blames_neither_host_nor_target(code: int, host_error: bool) -> None:
    fault = fault_of(socket.gaierror(code, "no"), Phase.DNS, alone=True)
    assert fault is not None
    assert (fault.status, fault.host_error, fault.transport) == (Status.ERROR, host_error, False)
    late = timeout_fault(Phase.DNS, 1.0, alone=True)
    assert (late.status, late.host_error, late.transport) == (Status.ERROR, False, False)
