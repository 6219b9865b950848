"""The listeners: what is opened, with which rights, and what is refused."""

from __future__ import annotations

import os
import socket
import ssl
import stat

import aiohttp
import pytest
import trustme

from steerd.api.app import make_app, make_small_app
from steerd.api.auth import Auth
from steerd.api.server import ApiServer, ListenError, default_socket_paths, tls_context
from steerd.model.fleet import Listen, Tls
from tests.support.scripted import ScriptedCoordinator, resolve


def small():
    return make_small_app(lambda: (True, "fine"))


async def test_the_socket_is_for_its_owner_and_group(tmp_path):
    path = tmp_path / "deep" / "s.sock"
    server = ApiServer(small(), Listen(port=0, socket=str(path)))
    before = os.umask(0o022)
    try:
        await server.start()
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert server.socket_path == path
    finally:
        assert os.umask(before) == 0o022, "the umask is put back"
        await server.stop()
    assert not path.exists()
    await server.stop()


async def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path):
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    first = ApiServer(small(), Listen(port=0, socket=str(path)))
    await first.start()
    second = ApiServer(small(), Listen(port=0, socket=str(path)))
    with pytest.raises(ListenError, match=f"{path}: another coordinator is listening on it"):
        await second.start()
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.get("http://localhost/livez") as r,
    ):
        assert r.status == 200, "the first still answers"
    await first.stop()


async def test_a_socket_that_became_somebody_elses_is_left_alone(tmp_path):
    path = tmp_path / "s.sock"
    server = ApiServer(small(), Listen(port=0, socket=str(path)))
    await server.start()
    path.rename(tmp_path / "moved")
    path.write_text("another's")
    await server.stop()
    assert path.read_text() == "another's"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p.write_text("data"), "not a socket"),
        (lambda p: p.mkdir(), "not a socket"),
    ],
)
async def test_other_things_in_its_place_are_not_removed(tmp_path, make, words):
    path = tmp_path / "s.sock"
    make(path)
    with pytest.raises(ListenError, match=words):
        await ApiServer(small(), Listen(port=0, socket=str(path))).start()
    assert path.exists()


async def test_a_path_too_long_for_a_socket(tmp_path):
    with pytest.raises(ListenError, match=r"listen\.socket"):
        await ApiServer(small(), Listen(port=0, socket=str(tmp_path / ("x" * 120)))).start()


async def test_the_default_falls_back_to_the_users_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    system, own = default_socket_paths()
    assert (str(system), own) == ("/run/steerd/steerd.sock", tmp_path / "steerd.sock")
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr("steerd.api.server.default_socket_paths", lambda: (blocked / "s.sock", own))
    server = ApiServer(small(), Listen(port=0))
    await server.start()
    assert server.socket_path == own
    await server.stop()


async def test_without_any_socket_it_runs_and_says_so(tmp_path, monkeypatch, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr("steerd.api.server.default_socket_paths", lambda: (blocked / "s.sock",))
    server = ApiServer(small(), Listen(port=0))
    await server.start()
    assert server.socket_path is None
    assert "no operator can change anything" in caplog.text
    await server.stop()


async def test_a_port_in_use():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        server = ApiServer(small(), Listen(port=port), unix=False)
        with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port}: another process has it"):
            await server.start()


async def test_plain_http_stays_on_loopback(caplog):
    with pytest.raises(ListenError, match=r"0\.0\.0\.0 is not loopback and `listen\.tls` is missing"):
        await ApiServer(small(), Listen(host="0.0.0.0", port=0), unix=False).start()
    server = ApiServer(small(), Listen(host="0.0.0.0", port=0, insecure=True), unix=False)
    await server.start()
    assert "plain HTTP on 0.0.0.0" in caplog.text, "loudly"
    await server.stop()


async def test_bad_tls_files_are_named(tmp_path):
    tls = Tls(str(tmp_path / "no.pem"), str(tmp_path / "no.key"))
    with pytest.raises(ListenError, match=r"listen\.tls .*no\.pem"):
        await ApiServer(small(), Listen(port=0, tls=tls), unix=False).start()
    (tmp_path / "no.pem").write_text("nonsense")
    (tmp_path / "no.key").write_text("nonsense")
    with pytest.raises(ListenError, match=r"listen\.tls"):
        await ApiServer(small(), Listen(port=0, tls=tls), unix=False).start()


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
async def tls_server(tmp_path, authority):
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    coordinator = ScriptedCoordinator()
    tls = Tls(str(tmp_path / "server.pem"), str(tmp_path / "server.pem"), client_ca=str(tmp_path / "ca.pem"))
    app = make_app(coordinator, auth=Auth(lambda: coordinator.fleet, resolve))
    server = ApiServer(app, Listen(port=0, tls=tls), unix=False)
    await server.start()
    yield server
    await server.stop()


def client_context(authority, name=None, ca=None):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if name is not None:
        (ca or authority).issue_cert(name).configure_cert(context)
    return context


async def handshake(server, agent, context):
    async with aiohttp.ClientSession() as session:
        try:
            url = f"https://127.0.0.1:{server.port}/v1/agents/{agent}/stream"
            async with session.ws_connect(url, ssl=context):
                return 101
        except aiohttp.WSServerHandshakeError as error:
            return error.status


async def test_a_certificate_with_the_agents_name_is_its_token(tls_server, authority):
    assert await handshake(tls_server, "a", client_context(authority, "a")) == 101
    assert await handshake(tls_server, "a", client_context(authority, "b")) == 401
    assert await handshake(tls_server, "a", client_context(authority)) == 401


async def test_a_certificate_of_another_authority_is_refused(tls_server, authority):
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await handshake(tls_server, "a", client_context(authority, "a", ca=trustme.CA()))


async def test_old_tls_is_refused(tls_server):
    context = tls_context(tls_server._listen.tls)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_metrics_that_are_off():
    server = ApiServer(small(), Listen(port=0), unix=False)
    await server.start()
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{server.port}/metrics") as r,
    ):
        assert r.status == 404
        assert "telemetry.prometheus" in (await r.json(content_type=None))["detail"]
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{server.port}/v1/status") as r,
    ):
        assert r.status == 404, "an agent alone tells of itself only"
    await server.stop()
