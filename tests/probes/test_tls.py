"""TLS, by `tls` and by `http`: whose certificate is wrong, and whose file is missing."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from probes.errors import MisconfiguredError
from probes.host_clock import HOST_CLOCK
from probes.outcome import Outcome, Status
from probes.tls_context import TlsSettings, tls_context
from tests.support.looking import Look

Serve = Callable[..., Awaitable[int]]
Site = Callable[..., Awaitable[str]]
NAME = "chat.example.test"


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return str(path)


def server_side(ca: trustme.CA, *names: str, days: float = 365.0, begins: float = -400.0) -> ssl.SSLContext:
    now = dt.datetime.now(dt.UTC)
    begin = now + dt.timedelta(days=begins)
    certificate = ca.issue_cert(*names, not_before=begin, not_after=now + dt.timedelta(days=days))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def expired(authority: trustme.CA) -> bytes:
    """The authority's certificate as it was before it was renewed."""
    private = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    assert isinstance(private, EllipticCurvePrivateKey)
    renewed = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(
        renewed.issuer,
        renewed.subject,
        private.public_key(),
        x509.random_serial_number(),
        now - dt.timedelta(days=900),
        now - dt.timedelta(days=1),
        list(renewed.extensions),
    )
    return builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


async def _nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def handshake(look: Look, serve: Serve, context: ssl.SSLContext, **settings: Any) -> Outcome:
    port = await serve(_nothing, ssl=context)
    url = f"https://{NAME}:{port}"
    return await look("tls", url, settings, layer="dependency", within_s=1.0, address="127.0.0.1")


async def test_a_good_certificate_passes_and_tells_when_it_expires(
    look: Look, serve: Serve, ca: trustme.CA, ca_file: str
) -> None:
    outcome = await handshake(look, serve, server_side(ca, NAME), ca=ca_file)
    assert (outcome.status, outcome.detail) == (Status.PASS, None)
    assert 364 < outcome.readings["tls_expiry_days"] < 366
    assert outcome.stages.connect_s is not None
    assert outcome.stages.tls_s is not None


async def test_expiring_soon_warns_and_does_not_fail(look: Look, serve: Serve, ca: trustme.CA, ca_file: str) -> None:
    outcome = await handshake(look, serve, server_side(ca, NAME, days=3), ca=ca_file)
    assert outcome.status is Status.PASS
    assert "renew" in (outcome.detail or "")


@pytest.mark.parametrize(
    ("names", "days", "reason"),
    [
        ((NAME,), -1.0, "TLS certificate expired"),
        (("other.example.test",), 365.0, "TLS certificate is for another name"),
        (("127.0.0.1",), 365.0, "TLS certificate is for another name"),  # the address is ours, the name is asked for
    ],
)
async def test_the_targets_certificate_is_its_own_fault(
    look: Look, serve: Serve, ca: trustme.CA, ca_file: str, names: tuple[str, ...], days: float, reason: str
) -> None:
    outcome = await handshake(look, serve, server_side(ca, *names, days=days), ca=ca_file)
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, reason, False)


UNTRUSTED = "misconfigured probe: TLS certificate of an authority that is not trusted here"


@pytest.mark.parametrize("kind", ["tls", "http", "openai-chat"])
async def test_an_authority_is_the_checks_affair_until_it_has_verified_that_name(
    look: Look, site: Site, ca: trustme.CA, tmp_path: Path, kind: str
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response()

    file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(file))

    async def looked(issuer: trustme.CA, name: str) -> Outcome:
        port = (await site({"/{any:.*}": handler}, ssl_context=server_side(issuer, name))).rpartition(":")[2]
        settings = {"ca": str(file), "server_name": name}
        return await look(kind, f"https://{name}:{port}", settings, address="127.0.0.1", model="m")

    never = await looked(trustme.CA(), NAME)
    assert (never.status, never.reason, never.host_error) == (Status.ERROR, UNTRUSTED, False)
    assert "`ca`" in (never.detail or "")
    assert (
        not (await looked(ca, NAME)).reason or kind == "openai-chat"
    )  # whose answer is none, behind a good certificate
    changed = await looked(trustme.CA(), NAME)
    assert (changed.status, changed.reason) == (Status.FAIL, "TLS certificate not trusted")
    other = await looked(trustme.CA(), "other.example.test")
    assert (other.status, other.reason) == (Status.ERROR, UNTRUSTED)


async def test_authorities_that_have_all_expired_are_the_checks_error(look: Look, serve: Serve, tmp_path: Path) -> None:
    """The servers went on under the renewed certificate of their authority; the old file verifies nothing any more."""
    authority = trustme.CA()
    (tmp_path / "ca.pem").write_bytes(expired(authority))
    port = await serve(_nothing, ssl=server_side(authority, NAME))
    settings = {"ca": str(tmp_path / "ca.pem")}
    outcome = await look("tls", f"https://{NAME}:{port}", settings, within_s=1.0, address="127.0.0.1")
    assert (outcome.status, outcome.host_error) == (Status.ERROR, False), outcome
    assert "every authority" in (outcome.reason or "")


@pytest.mark.parametrize("kind", ["tls", "http"])
@pytest.mark.parametrize(("days", "begins"), [(-1.0, -400.0), (365.0, 10.0)])
async def test_dates_are_not_judged_by_a_clock_that_references_contradict(
    look: Look, serve: Serve, ca: trustme.CA, ca_file: str, days: float, begins: float, kind: str
) -> None:
    port = await serve(_nothing, ssl=server_side(ca, NAME, days=days, begins=begins))
    url = f"https://{NAME}:{port}"

    async def looked() -> Outcome:
        return await look(kind, url, {"ca": ca_file}, within_s=1.0, address="127.0.0.1")

    now = time.time()
    try:
        for times in ([], [now, now], [now, now - 30 * 86400.0], [now + 30.0]):
            HOST_CLOCK.told(times)
            outcome = await looked()
            assert outcome.status is Status.FAIL, times
        for times in ([now - 30 * 86400.0, now - 30 * 86400.0 + 1.0], [now + 30 * 86400.0] * 2 + [now]):
            HOST_CLOCK.told(times)
            outcome = await looked()
            assert (outcome.status, outcome.host_error) == (Status.ERROR, False), outcome
            assert "clock is off" in (outcome.reason or "")
            assert "259" in (outcome.detail or "")  # 2 592 000 s
        HOST_CLOCK.told([now - 30 * 86400.0] * 2)
        good = await handshake(look, serve, server_side(ca, NAME, days=3), ca=ca_file)
        assert 32 < good.readings["tls_expiry_days"] < 34  # by the references' time
    finally:
        HOST_CLOCK.forget()


async def test_another_name_can_be_asked_for(look: Look, serve: Serve, ca: trustme.CA, ca_file: str) -> None:
    context = server_side(ca, "inner.example.test")
    outcome = await handshake(look, serve, context, ca=ca_file, server_name="inner.example.test")
    assert outcome.status is Status.PASS


@pytest.mark.parametrize("kind", ["tls", "http"])
async def test_a_ca_file_that_is_missing_is_the_checks_error(look: Look, kind: str, tmp_path: Path) -> None:
    outcome = await look(kind, "https://127.0.0.1:1", {"ca": str(tmp_path / "gone.pem")})
    assert (outcome.status, outcome.host_error) == (Status.ERROR, False)
    assert "gone.pem" in (outcome.detail or "")


@pytest.mark.parametrize("kind", ["tls", "http"])
async def test_a_ca_file_that_is_none_is_the_checks_error(look: Look, kind: str, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("not a certificate")
    outcome = await look(kind, "https://127.0.0.1:1", {"ca": str(tmp_path / "bad.pem")})
    assert outcome.status is Status.ERROR


async def test_a_host_that_trusts_nobody_blames_itself(
    look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A slim image without CA certificates would otherwise call every endpoint untrusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    outcome = await look("tls", "https://127.0.0.1:1")
    assert outcome.status is Status.ERROR
    assert "CA certificates" in (outcome.detail or "")


async def test_plain_http_behind_a_tls_url_fails(look: Look, serve: Serve, ca_file: str) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    url = f"https://127.0.0.1:{await serve(plain)}"
    outcome = await look("tls", url, {"ca": ca_file}, within_s=1.0)
    assert (outcome.status, outcome.reason) == (Status.FAIL, "TLS handshake failed")


@pytest.mark.parametrize("kind", ["tls", "http"])
async def test_a_handshake_that_never_ends_times_out(look: Look, serve: Serve, ca_file: str, kind: str) -> None:
    url = f"https://127.0.0.1:{await serve(_silent)}"
    outcome = await look(kind, url, {"ca": ca_file}, within_s=0.3)
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "TLS handshake timed out", True)


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def test_nobody_there_is_refused(look: Look, ca_file: str) -> None:
    outcome = await look("tls", "https://127.0.0.1:1", {"ca": ca_file})
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "connection refused", True)


async def test_https_looks_verify_and_time_the_handshake(look: Look, site: Site, ca: trustme.CA, ca_file: str) -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers["Host"])
        return web.Response()

    good = (await site({"/": handler}, ssl_context=server_side(ca, NAME))).rpartition(":")[2]
    url = f"https://{NAME}:{good}"
    outcome = await look("http", url, {"ca": ca_file}, address="127.0.0.1")
    assert outcome.status is Status.PASS
    assert outcome.stages.connect_s is not None
    assert outcome.stages.tls_s is not None
    kept = await look("http", url, {"ca": ca_file}, address="127.0.0.1")
    assert (kept.status, kept.stages.tls_s) == (Status.PASS, None)
    assert seen == [f"{NAME}:{good}"] * 2

    old = (await site({"/": handler}, ssl_context=server_side(ca, NAME, days=-1))).rpartition(":")[2]
    outcome = await look("http", f"https://{NAME}:{old}", {"ca": ca_file}, address="127.0.0.1")
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "TLS certificate expired", False)

    wrong = await site({"/": handler}, ssl_context=server_side(ca, NAME))
    outcome = await look("http", wrong, {"ca": ca_file})
    assert (outcome.status, outcome.reason) == (Status.FAIL, "TLS certificate is for another name")


def _refuse(listening: socket.socket, context: ssl.SSLContext) -> None:
    listening.settimeout(10)
    connection, _ = listening.accept()
    connection.settimeout(10)
    with connection:
        tls = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with pytest.raises(ssl.SSLError):
            tls.do_handshake()
        with contextlib.suppress(OSError):
            tls.shutdown(socket.SHUT_WR)
            while tls.recv(4096):
                pass
        tls.close()


async def test_a_client_certificate_that_is_wanted_and_missing_is_the_checks_error(
    look: Look, site: Site, ca: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response()

    context = server_side(ca, "127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(context)
    # A server of asyncio drops the connection without the alert that OpenSSL has ready; others send it, as here.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        refusing = asyncio.create_task(asyncio.to_thread(_refuse, listening, context))
        outcome = await look("http", f"https://127.0.0.1:{listening.getsockname()[1]}", {"ca": ca_file})
        await refusing
    assert (outcome.status, outcome.reason) == (Status.ERROR, "client certificate refused")

    url = await site({"/": handler}, ssl_context=context)
    client = ca.issue_cert("agent.example.test")
    client.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    outcome = await look("http", url, {"ca": ca_file, "cert": str(tmp_path / "client.pem")})
    assert outcome.status is Status.PASS


async def test_a_session_is_used_again_by_regular_looks_and_never_by_fresh_ones(
    look: Look, serve: Serve, ca: trustme.CA, ca_file: str
) -> None:
    """A resumed session shows no certificate: a look that is to see whether it is still good must not use one."""
    reused: list[bool] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Promises to keep the connection, and lets go of it at once."""
        await reader.readuntil(b"\r\n\r\n")
        reused.append(writer.get_extra_info("ssl_object").session_reused)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    port = await serve(once, ssl=server_side(ca, NAME))
    settings = {"ca": ca_file, "fresh_every": 1000}

    async def looked(*, fresh: bool = False) -> Status:
        outcome = await look("http", f"https://{NAME}:{port}", settings, address="127.0.0.1", fresh=fresh)
        return outcome.status

    for _ in range(3):
        assert await looked() is Status.PASS
    assert await looked(fresh=True) is Status.PASS
    assert reused == [False, True, True, False]


@pytest.mark.parametrize("kind", ["http", "openai-chat", "tls"])
async def test_an_authority_that_is_rotated_is_read_again(
    look: Look, site: Site, ca: trustme.CA, tmp_path: Path, kind: str
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response()

    file, other = tmp_path / "ca.pem", trustme.CA()
    other.cert_pem.write_to_path(str(file))
    port = (await site({"/{any:.*}": handler}, ssl_context=server_side(ca, NAME))).rpartition(":")[2]

    async def trusted() -> bool:
        outcome = await look(
            kind, f"https://{NAME}:{port}", {"ca": str(file), "server_name": NAME}, address="127.0.0.1", model="m"
        )
        return outcome.reason not in {"TLS certificate not trusted", UNTRUSTED}

    assert not await trusted()
    ca.cert_pem.write_to_path(str(file))
    await until_async(trusted)
    if kind == "http":
        assert await trusted()  # over the connection kept
    other.cert_pem.write_to_path(str(file))

    async def refused() -> bool:
        return not await trusted()

    await until_async(refused)  # a connection that the old file made is not kept


async def until_async(holds: Callable[[], Awaitable[bool]], within_s: float = 10.0) -> None:
    deadline = asyncio.get_running_loop().time() + within_s
    while not await holds():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)


def test_looks_share_a_context_until_a_file_of_it_changes(
    ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ca.pem"
    with pytest.raises(MisconfiguredError, match=r"ca\.pem"):
        tls_context(TlsSettings(str(file)))
    monkeypatch.setattr("probes.tls_context.RECHECK_S", 0.0)
    fresh = TlsSettings(str(tmp_path / "." / "x" / ".." / "other.pem"))
    (tmp_path / "x").mkdir()
    ca.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    one = tls_context(fresh)
    assert tls_context(replace(fresh, server_name="other.test")) is one
    assert tls_context(fresh, alpn=("h2",)) is not one
    unnamed = tls_context(fresh, named=False)
    assert (one.check_hostname, unnamed.check_hostname) == (True, False)
    ca.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    assert tls_context(fresh) is not one
