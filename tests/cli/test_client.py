"""Where the coordinator is looked for, and what is said when it is not there."""

from __future__ import annotations

import socket
import threading

import pytest

from steerd.cli.client import Client, Place, find, path, places
from steerd.cli.errors import BadInput, NotWell


def told(url=None, sock=None, **env):
    return [(p.told_by, p.socket or p.url) for p in places(url, sock, env)]


def test_the_order(monkeypatch):
    monkeypatch.setattr("steerd.cli.client._DEFAULT", "/run/steerd/steerd.sock")
    everything = {"STEERD_URL": "http://env", "STEERD_SOCKET": "/env.sock", "XDG_RUNTIME_DIR": "/run/user/1"}
    assert told("http://flag", None, **everything) == [("--url", "http://flag")]
    assert told(None, "/flag.sock", **everything) == [("--socket", "/flag.sock")]
    assert told(**everything) == [("STEERD_URL", "http://env")]
    del everything["STEERD_URL"]
    assert told(**everything) == [("STEERD_SOCKET", "/env.sock")]
    del everything["STEERD_SOCKET"]
    assert told(**everything) == [
        ("default", "/run/steerd/steerd.sock"),
        ("default for this user", "/run/user/1/steerd.sock"),
    ]
    assert told() == [("default", "/run/steerd/steerd.sock")]
    assert told(STEERD_URL="", STEERD_SOCKET="") == told(), "an empty variable is none"


def test_nobody_answers(tmp_path):
    with pytest.raises(NotWell) as error:
        find(None, None, None, {"XDG_RUNTIME_DIR": str(tmp_path)})
    text = error.value.message
    assert f"{tmp_path}/no-default.sock (default): there is no such socket" in text
    assert f"{tmp_path}/steerd.sock (default for this user): there is no such socket" in text
    assert "steerd run" in text
    assert "--socket PATH" in text


def test_a_given_place_is_the_only_one(served, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(NotWell, match=r"STEERD_URL\): nobody listens there"):
            find(None, None, None, {"STEERD_URL": url})
    with find(None, None, None, {"STEERD_SOCKET": served.socket}) as client:
        assert client.get("/v1/status")["fleet"] == "acme"


def test_the_users_own_socket_is_second(served, tmp_path, monkeypatch):
    with find(None, None, None, {"XDG_RUNTIME_DIR": str(tmp_path)}) as client:
        assert client.place.told_by == "default for this user"
        assert client.get("/v1/status")["fleet"] == "acme"


def test_a_stale_socket(tmp_path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s"))
    with pytest.raises(NotWell, match="nobody listens there"):
        find(None, None, str(tmp_path / "s"), {})


def test_tcp(served):
    with find(served.url, None, None) as client:
        assert client.get("/v1/status")["fleet"] == "acme"
        with pytest.raises(BadInput, match="Unix socket"):
            client.send("POST", "/v1/freeze", {"reason": "x"})
    with find(served.url.removeprefix("http://"), None, None) as client:
        assert client.get("/v1/status")["fleet"] == "acme", "a bare host:port is http"


def test_tokens(tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    with pytest.raises(BadInput, match="not sent over plain HTTP"):
        find("http://steerd.internal:7443", str(token), None)
    client = Client(Place("--url", url="https://h:1"), "s3cret")
    assert client._headers["Authorization"] == "Bearer s3cret"
    token.write_text("two words")
    with pytest.raises(BadInput, match="one token on one line"):
        find("http://127.0.0.1:1", str(token), None)
    token.write_text("")
    with pytest.raises(BadInput, match="one token"):
        find("http://127.0.0.1:1", str(token), None)
    with pytest.raises(BadInput, match="No such file"):
        find("http://127.0.0.1:1", str(tmp_path / "none"), None)


def test_the_token_is_sent(tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    head = talk_to(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", str(token))
    assert b"\r\nAuthorization: Bearer s3cret\r\n" in head


def talk_to(answer, token_file=None):
    """What the client sends to a server that gives `answer` and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        got = []

        def serve():
            connection, _ = server.accept()
            with connection:
                got.append(connection.recv(65536))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with find(f"http://127.0.0.1:{server.getsockname()[1]}", token_file, None) as client:
                client.get("/v1/status")
        finally:
            thread.join(10)
    return got[0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "stopped answering"),
        (b"nonsense\r\n\r\n", "stopped answering"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "stopped answering"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope", "answered 404 and is not a steerd"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "answered 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<html", "is not a steerd"),
        (b'HTTP/1.1 503 No\r\nContent-Length: 19\r\n\r\n{"detail": "later"}', "later"),
    ],
)
def test_answers_that_are_none(answer, words):
    with pytest.raises(NotWell, match=words):
        talk_to(answer)


def test_names_are_quoted():
    assert path("explain", "r53/chat ä?#") == "/v1/explain/r53%2Fchat%20%C3%A4%3F%23"
    assert path("explain", "..") == "/v1/explain/.."
