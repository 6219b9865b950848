"""Talks to a coordinator over its Unix socket or a URL: plain HTTP from the standard library, so that verbs start fast.

Where the coordinator is: `--url`, `--socket`, STEERD_URL, STEERD_SOCKET, /run/steerd/steerd.sock, and
$XDG_RUNTIME_DIR/steerd.sock. The first that is *given* is used, and only that; the default sockets are tried in turn.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

from steerd.cli.errors import BadInput, NotWell, Vetoed

__all__ = ["Client", "Place", "find", "parsed", "path"]

ANSWER_MAX = 256 * 1024 * 1024
"""Bytes of an answer that are read: the status of 10 000 endpoints is about 4 MiB."""
TIMEOUT_S = 15.0
_DEFAULT = "/run/steerd/steerd.sock"


@dataclass(frozen=True, slots=True)
class Place:
    """One place where a coordinator may be: a Unix socket or a URL, and who says so."""

    told_by: str
    socket: str | None = None
    url: str | None = None

    def __str__(self) -> str:
        return f"{self.socket or self.url} ({self.told_by})"


def places(url: str | None, sock: str | None, env: Mapping[str, str]) -> list[Place]:
    """Where to look, best first."""
    if url and sock:
        raise BadInput("Give --url or --socket, not both.")
    if url:
        return [Place("--url", url=url)]
    if sock:
        return [Place("--socket", socket=sock)]
    if env.get("STEERD_URL"):
        return [Place("STEERD_URL", url=env["STEERD_URL"])]
    if env.get("STEERD_SOCKET"):
        return [Place("STEERD_SOCKET", socket=env["STEERD_SOCKET"])]
    found = [Place("default", socket=_DEFAULT)]
    if env.get("XDG_RUNTIME_DIR"):
        found.append(Place("default for this user", socket=str(Path(env["XDG_RUNTIME_DIR"]) / "steerd.sock")))
    return found


def find(url: str | None, token_file: str | None, sock: str | None, env: Mapping[str, str] | None = None) -> Client:
    """A client connected to the first place that answers. Raises `NotWell` saying what was tried and what to do."""
    token = _token(token_file)
    tried = []
    for place in places(url, sock, os.environ if env is None else env):
        client = Client(place, token)
        try:
            client.connect()
        except OSError as error:
            tried.append(f"  {place}: {_words(error)}")
        else:
            return client
    raise NotWell(
        "no coordinator answers. Tried:\n" + "\n".join(tried) + "\n"
        "Start one (`steerd run --config FILE`), "
        "or say where it is: --socket PATH, --url URL, STEERD_SOCKET or STEERD_URL."
    )


def path(*parts: str) -> str:
    """`/v1/...` with every part quoted."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


_ESCAPES = re.compile(rb"\\u(....)|\\(.)|\x7f|\xc2[\x80-\x9f]", re.DOTALL)
"""Escapes of JSON, and the control characters that may stand in it unescaped."""


def parsed(data: bytes) -> Any:
    """JSON for showing: control characters of its texts become `?`, so that no answer can steer the reader's terminal.

    Raises `NotWell` when it is no JSON.
    """
    try:
        # Most answers hold none, and looking for single bytes is far quicker than the expression.
        if b"\\" in data or b"\x7f" in data or b"\xc2" in data:
            data = _ESCAPES.sub(_tamed, data)
        return json.loads(data)
    except ValueError as error:
        raise NotWell("what answered is not a steerd coordinator: its answer is no JSON.") from error


def _tamed(found: re.Match[bytes]) -> bytes:
    code, letter = found.groups()
    if code is not None:
        number = int(code, 16)
        control = number < 0x20 or 0x7F <= number < 0xA0
    else:
        control = letter in (b"b", b"f", None)
    return b"?" if control else found[0]


class Client:
    """One connection to one coordinator."""

    def __init__(self, place: Place, token: str | None = None) -> None:
        self.place = place
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._prefix = ""
        self._http = self._connection(token)

    def connect(self) -> None:
        """Open the connection. Raises OSError."""
        self._http.connect()

    def close(self) -> None:
        """Give the connection back."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, target: str) -> Any:
        """The JSON at `target`."""
        return parsed(self.raw("GET", target))

    def send(self, method: str, target: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send a command; its answer."""
        return parsed(self.raw(method, target, None if body is None else json.dumps(body).encode()))

    def raw(self, method: str, target: str, body: bytes | None = None) -> bytes:
        """The body of a 2xx answer. Raises `NotWell`, `BadInput` or `Vetoed` with the problem's own words."""
        headers = self._headers | ({"Content-Type": "application/json"} if body is not None else {})
        try:
            self._http.request(method, self._prefix + target, body=body, headers=headers)
            response = self._http.getresponse()
            data = response.read(ANSWER_MAX)
            if response.length:
                raise http.client.IncompleteRead(data, response.length)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise NotWell(f"{self.place} stopped answering: {_words(error)}.") from error
        if 200 <= response.status < 300:
            return data
        raise _refusal(response.status, data, str(self.place))

    def _connection(self, token: str | None) -> http.client.HTTPConnection:
        if self.place.socket is not None:
            return _UnixConnection(self.place.socket)
        text = self.place.url or ""
        parts = urlsplit(text if "//" in text else f"//{text}", scheme="http")
        try:
            port = parts.port
        except ValueError as error:
            raise BadInput(f"{self.place.told_by}: {text!r} has a bad port: {error}.") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput(f"{self.place.told_by}: {text!r} is no URL; write https://host:7443.")
        self._prefix = parts.path.rstrip("/")
        if parts.scheme == "https":
            # SSL_CERT_FILE names a private authority.
            return http.client.HTTPSConnection(
                parts.hostname, port or 443, timeout=TIMEOUT_S, context=ssl.create_default_context()
            )
        if token and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise BadInput(
                f"{self.place.told_by}: a token is not sent over plain HTTP to {parts.hostname}; use https://."
            )
        return http.client.HTTPConnection(parts.hostname, port or 80, timeout=TIMEOUT_S)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, where: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._where = where

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(self.timeout)
        try:
            sock.connect(self._where)
        except BaseException:
            sock.close()
            raise
        self.sock = sock


def _token(token_file: str | None) -> str | None:
    if token_file is None:
        return None
    try:
        token = Path(token_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise BadInput(f"--token-file {token_file}: {why}.") from error
    if not token or any(c.isspace() for c in token):
        raise BadInput(f"--token-file {token_file}: it must hold one token on one line.")
    return token


def _refusal(status: int, data: bytes, place: str) -> NotWell | BadInput | Vetoed:
    try:
        problem = parsed(data)
        text = str(problem["detail"])
    except (NotWell, KeyError, TypeError):
        return NotWell(f"{place} answered {status} and is not a steerd coordinator, or one behind a proxy.")
    if status == 409:
        return Vetoed(f"vetoed: {text}", {key: problem[key] for key in ("result", "text", "data") if key in problem})
    if 400 <= status < 500:
        return BadInput(text)
    return NotWell(text)


def _words(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such socket"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, PermissionError):
        return "this user may not use it (see the socket's group)"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__)
