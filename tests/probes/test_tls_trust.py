"""TLS: what a check's own files, renewed or pinned, say of whose fault a certificate is."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.x509.oid import NameOID

from probes.outcome import Outcome, Status
from tests.support.looking import Look

Serve = Callable[..., Awaitable[int]]
Site = Callable[..., Awaitable[str]]
NAME = "chat.example.test"
UNTRUSTED = "misconfigured probe: TLS certificate of an authority that is not trusted here"


def serving(issuer: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(NAME).configure_cert(context)
    return context


async def _nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


@pytest.mark.parametrize("kind", ["tls", "http"])
async def test_a_client_certificate_that_is_renewed_does_not_hide_what_the_target_changed(
    look: Look, site: Site, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response()

    monkeypatch.setattr("probes.tls_context.RECHECK_S", 0.0)
    ca = trustme.CA()
    trusted, cert, key = (tmp_path / name for name in ("ca.pem", "client.pem", "client.key"))
    ca.cert_pem.write_to_path(str(trusted))

    def renew() -> None:
        client = ca.issue_cert("agent.example.test")
        client.cert_chain_pems[0].write_to_path(str(cert))
        client.private_key_pem.write_to_path(str(key))

    async def looked(issuer: trustme.CA) -> Outcome:
        port = (await site({"/{any:.*}": handler}, ssl_context=serving(issuer))).rpartition(":")[2]
        settings = {"ca": str(trusted), "cert": str(cert), "key": str(key)}
        return await look(kind, f"https://{NAME}:{port}", settings, address="127.0.0.1")

    renew()
    assert (await looked(ca)).status is Status.PASS
    assert (await looked(trustme.CA())).reason == "TLS certificate not trusted"
    key.unlink()
    assert (await looked(trustme.CA())).status is Status.ERROR  # half way through the renewal
    renew()
    changed = await looked(trustme.CA())
    assert (changed.status, changed.reason) == (Status.FAIL, "TLS certificate not trusted")
    trusted.write_bytes(trustme.CA().cert_pem.bytes())
    assert (await looked(trustme.CA())).reason == UNTRUSTED  # other authorities: nothing is proven by them


def self_signed(path: Path, subject: str, *names: x509.GeneralName, days: float) -> None:
    """A server's certificate that is its own authority, with its key, as `openssl req -x509` makes them."""
    now, private = dt.datetime.now(dt.UTC), generate_private_key(SECP256R1())
    called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    ends = now + dt.timedelta(days=days)
    serial, begins = x509.random_serial_number(), now - dt.timedelta(days=900)
    builder = x509.CertificateBuilder(called, called, private.public_key(), serial, begins, ends)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    written = builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    path.write_bytes(written)
    path.with_suffix(".key").write_bytes(private.private_bytes(serialization.Encoding.PEM, *plain))


@pytest.mark.parametrize("kind", ["tls", "http"])
@pytest.mark.parametrize(
    ("subject", "names", "host"),
    [
        (NAME, (x509.DNSName(NAME.upper()),), NAME),
        ("ours", (x509.DNSName("*.example.test"),), NAME),
        ("ours", (x509.IPAddress(ipaddress.ip_address("127.0.0.1")),), "127.0.0.1"),
    ],
)
async def test_a_pinned_certificate_that_has_expired_is_the_targets(
    look: Look, serve: Serve, tmp_path: Path, kind: str, subject: str, names: tuple[x509.GeneralName, ...], host: str
) -> None:
    pinned, other = tmp_path / "pinned.pem", tmp_path / "other.pem"
    self_signed(pinned, subject, *names, days=-1.0)
    self_signed(other, "elsewhere.test", x509.DNSName("elsewhere.test"), days=-1.0)
    both = tmp_path / "both.pem"
    both.write_bytes(pinned.read_bytes() + other.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pinned, pinned.with_suffix(".key"))
    port = await serve(_nothing, ssl=context)
    for file in (pinned, both):
        outcome = await look(kind, f"https://{host}:{port}", {"ca": str(file)}, within_s=1.0, address="127.0.0.1")
        assert (outcome.status, outcome.reason) == (Status.FAIL, "TLS certificate expired"), outcome
