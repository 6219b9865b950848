"""HAProxy's configuration file: backends and their servers.

Source: HAProxy configuration manual, sections 2 (quoting, `#`), 4.1 (`backend`, `listen`), 5.2 (`server` options).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from steerd.cli.imports.found import Endpoint, Found, Names, Service, Unreadable, in_url

__all__ = ["read"]

_SECTIONS = frozenset(
    {
        "global",
        "defaults",
        "frontend",
        "backend",
        "listen",
        "peers",
        "resolvers",
        "userlist",
        "mailers",
        "cache",
        "program",
    }
    | {"ring", "http-errors", "fcgi-app", "crt-store", "traces", "log-forward"}
)


def read(text: str, names: Names) -> Found:
    """Every backend with servers becomes a service. Raises `Unreadable`."""
    services: list[Service] = []
    notes: list[str] = []
    socket: str | None = None
    backends: dict[str, list[list[str]]] = {}
    kind, name = "", ""
    for number, words in _lines(text):
        if words[0] in _SECTIONS:
            kind, name = words[0], words[1] if len(words) > 1 else ""
        elif not kind:
            raise Unreadable(f"line {number}: {words[0]!r} stands before any section: is this a haproxy.cfg?")
        elif kind == "global" and words[:2] == ["stats", "socket"] and len(words) > 2 and "admin" in words:
            socket = words[2]
        elif kind in ("backend", "listen") and words[0] == "server":
            if len(words) < 3:
                raise Unreadable(f"line {number}: a server needs a name and an address")
            known = backends.setdefault(name, [])
            if any(other[1] == words[1] for other in known):
                raise Unreadable(f"line {number}: backend {name!r} has a server {words[1]!r} already")
            known.append(words)
        elif kind in ("backend", "listen") and words[0] == "server-template":
            notes.append(f"backend {name}: line {number} is a server-template, add its servers by hand")
    for backend, servers in backends.items():
        made = tuple(_endpoint(backend, words, names, notes) for words in servers)
        services.append(Service(names.take(backend), made, {"backend": backend}))
    if not services:
        raise Unreadable("no backend with servers stands in it")
    if socket is None:
        notes.append("no `stats socket ... level admin` stands in `global`: add one, steerd writes through it")
    where = f"unix:{socket}" if socket is None or socket.startswith("/") else socket.removeprefix("ipv4@")
    settings = {"socket": where if socket else "unix:/run/haproxy/admin.sock"}
    return Found("edge", "haproxy", settings, tuple(services), tuple(notes))


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Words of each line, comments left out."""
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise Unreadable(f"line {number}: {error}") from error
        if words and not words[0].startswith("."):  # .if and .notice are HAProxy's preprocessor
            yield number, words


def _endpoint(backend: str, words: list[str], names: Names, notes: list[str]) -> Endpoint:
    server, where, options = words[1], words[2], words[3:]
    host, port = _place(where)
    scheme = "https" if "ssl" in options else "http"
    weight = 1.0
    if "weight" in options[:-1]:
        told = options[options.index("weight") + 1]
        weight = float(told) if told.isdigit() else 1.0
    if {"disabled", "backup"} & set(options):
        word = "disabled" if "disabled" in options else "a backup"
        notes.append(f"backend {backend}: server {server} is {word} in HAProxy and an ordinary endpoint here")
    known = host and not where.startswith(("unix@", "/"))
    if weight == 0:
        notes.append(f"backend {backend}: server {server} has weight 0 in HAProxy and is an ordinary endpoint here")
    url = f"{scheme}://{in_url(host)}{':' + port if port else ''}" if known else None
    return Endpoint(names.take(backend, server), url, host if known else None, weight=weight, server=server)


def _place(where: str) -> tuple[str, str]:
    """Host and port of `host:port`, `[v6]:port`, `v6:port` or `ipv4@host:port`."""
    where = where.removeprefix("ipv4@").removeprefix("ipv6@")
    host, colon, port = where.rpartition(":")
    if not colon or not port.isdigit():
        host, port = where, ""
    return host.strip("[]"), port
