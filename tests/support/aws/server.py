"""A local AWS service: an HTTP server that validates every request against botocore's model and keeps real state."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.aws.model import AwsError, Reply, Wire

__all__ = ["Asked", "AwsServer", "LoseAnswer"]


class LoseAnswer:
    """A fault: the request is carried out and the connection closes without an answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as understood: `region` and `key` are those of its signature."""

    operation: str
    params: Mapping[str, Any]
    region: str
    key: str


class AwsServer:
    """Subclasses have one method per operation, named as the operation, taking its parameters.

    `faults` are used up one per request, for operations named in them: (operation, AwsError | LoseAnswer | callable).
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.asked: list[Asked] = []
        self.faults: deque[tuple[str, AwsError | LoseAnswer | Callable[[], object]]] = deque()
        self.lock = threading.RLock()
        self._ids = itertools.count(1)
        self._http: _Http | None = None

    @property
    def url(self) -> str:
        assert self._http is not None, "not started"
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def operations(self) -> list[str]:
        """What was asked, in order."""
        return [a.operation for a in self.asked]

    def start(self) -> AwsServer:
        self._http = _Http(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Gone, with every connection it still had; safe to call twice."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http.hang_up()
            self._http = None

    def serve(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Reply | None:
        """The answer, or None to hang up without one."""
        request_id = f"request-{next(self._ids)}"
        try:
            operation, params = self.wire.read(method, url, headers, body)
            scope = headers["authorization"].partition("Credential=")[2].split(",")[0].split("/")
            self.asked.append(Asked(operation, params, scope[2], scope[0]))
            fault = self._fault(operation)
            if isinstance(fault, AwsError):
                raise fault
            if callable(fault):
                fault()
            with self.lock:
                result = getattr(self, operation)(**params)
            if isinstance(fault, LoseAnswer):
                return None
            return self.wire.answer(operation, result or {}, request_id)
        except AwsError as error:
            return self.wire.error(error, request_id)

    def _fault(self, operation: str) -> AwsError | LoseAnswer | Callable[[], object] | None:
        with self.lock:
            if self.faults and self.faults[0][0] == operation:
                return self.faults.popleft()[1]
        return None


class _Http(ThreadingHTTPServer):
    """Knows its connections, which a client keeps for its next request."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for request in list(self._open):
            with contextlib.suppress(OSError):  # it was closed by the client meanwhile
                request.shutdown(socket.SHUT_RDWR)


def _handler(server: AwsServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two writes: the second would wait 40 ms for the client to acknowledge the first.
        disable_nagle_algorithm = True

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {k.lower(): v for k, v in self.headers.items()}
            reply = server.serve(self.command, self.path, headers, body)
            if reply is None:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST = do_PATCH = do_DELETE = _any  # noqa: N815  http.server's names

        def log_message(self, *args: object) -> None:
            """Quiet."""

    return Handler
