"""The listeners of a daemon: TCP, with TLS where configured, and the operators' Unix socket."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import os
import socket
import ssl
import stat
from pathlib import Path

from aiohttp import web

from steerd.model.fleet import Listen, Tls

__all__ = ["ApiServer", "ListenError", "default_socket_paths"]

log = logging.getLogger(__name__)

SOCKET_MODE = 0o660
"""Owner and group may operate; nobody else may even connect."""
_STOP_WITHIN_S = 2.0


class ListenError(Exception):
    """A listener cannot be opened; the text says which, why, and what to do."""


def default_socket_paths() -> tuple[Path, ...]:
    """Where the Unix socket is when the config names none: the first one that works."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return (Path("/run/steerd/steerd.sock"), *((Path(runtime) / "steerd.sock",) if runtime else ()))


class ApiServer:
    """Serves `app` on `listen`; with `unix` also on a Unix socket: `listen.socket`, or the first default that works."""

    def __init__(self, app: web.Application, listen: Listen, *, unix: bool = True) -> None:
        self._app = app
        self._listen = listen
        self._unix = unix
        self._runner: web.AppRunner | None = None
        self._socket: tuple[Path, int] | None = None
        self.port = listen.port

    @property
    def socket_path(self) -> Path | None:
        """The Unix socket in use, if any."""
        return None if self._socket is None else self._socket[0]

    async def start(self) -> None:
        """Open the listeners. Raises `ListenError`; then nothing stays open."""
        context = self._tls()
        runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=_STOP_WITHIN_S)
        self._runner = runner
        await runner.setup()
        try:
            await self._start_tcp(runner, context)
            if self._unix:
                await self._start_unix(runner)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close streams, answer what is under way for at most 2 s, and remove the socket. Safe to call twice."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        if self._socket is not None:
            path, inode = self._socket
            self._socket = None
            with contextlib.suppress(FileNotFoundError):
                # Somebody else's socket may stand there by now.
                if path.stat().st_ino == inode:
                    path.unlink()

    def _tls(self) -> ssl.SSLContext | None:
        listen = self._listen
        if listen.tls is not None:
            return tls_context(listen.tls)
        if listen.insecure or _loopback(listen.host):
            if listen.insecure and not _loopback(listen.host):
                log.warning("plain HTTP on %s: ballots and tokens can be read and changed on the way", listen.host)
            return None
        raise ListenError(
            f"listen.host {listen.host} is not loopback and `listen.tls` is missing: "
            "set `tls: {cert: FILE, key: FILE}`, listen on 127.0.0.1, or accept plain HTTP with `insecure: true`."
        )

    async def _start_tcp(self, runner: web.AppRunner, context: ssl.SSLContext | None) -> None:
        listen = self._listen
        try:
            await web.TCPSite(runner, listen.host, listen.port, ssl_context=context, reuse_address=True).start()
        except OSError as error:
            hint = (
                "another process has it: set another `listen.port`"
                if error.errno == errno.EADDRINUSE
                else error.strerror
            )
            raise ListenError(f"cannot listen on {listen.host}:{listen.port}: {hint}.") from error
        self.port = int(runner.addresses[0][1])

    async def _start_unix(self, runner: web.AppRunner) -> None:
        if self._listen.socket is not None:
            await self._bind_unix(runner, Path(self._listen.socket))
            return
        refusals = []
        for path in default_socket_paths():
            try:
                await self._bind_unix(runner, path)
            except ListenError as error:
                refusals.append(str(error))
            else:
                return
        log.warning("no Unix socket, so no operator can change anything here: %s", " ".join(refusals))

    async def _bind_unix(self, runner: web.AppRunner, path: Path) -> None:
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            _remove_stale(path)
            sock, inode = _bound(path)
        except OSError as error:
            raise ListenError(
                f"cannot listen on the Unix socket {path}: {error.strerror or error}. "
                "Set `listen.socket` to a path this user may write."
            ) from error
        self._socket = (path, inode)
        await web.SockSite(runner, sock).start()


def _bound(path: Path) -> tuple[socket.socket, int]:
    """A bound socket, and the inode it has in the file system."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    # The mode must hold from the first moment on, so it comes from the umask and not from a chmod after.
    before = os.umask(0o777 & ~SOCKET_MODE)
    try:
        sock.bind(str(path))
        return sock, path.stat().st_ino
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(before)


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on any more; refuse to touch a live one or anything else."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "something that is not a socket is in its place")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, "another coordinator is listening on it")


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tls_context(tls: Tls) -> ssl.SSLContext:
    """A server context: TLS 1.2 or newer; with `client_ca`, a client's certificate is verified when it brings one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.cert, tls.key)
        if tls.client_ca is not None:
            context.load_verify_locations(tls.client_ca)
            # Optional: health checks and scrapers bring none; what an agent may do is decided per request.
            context.verify_mode = ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(f for f in (tls.cert, tls.key, tls.client_ca) if f)
        raise ListenError(f"cannot use listen.tls ({files}): {error}.") from error
    return context
