"""A local JSON API: an HTTP server with faults, whose subclasses validate every request against the vendor's published model."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.aws.model import Reply
from tests.support.aws.server import LoseAnswer, _handler, _Http

__all__ = ["Asked", "HttpError", "JsonServer", "LoseAnswer"]


class HttpError(Exception):
    """An error answer, its document as the vendor writes it."""

    def __init__(self, status: int, document: Any = None, **headers: str) -> None:
        super().__init__(f"{status} {json.dumps(document)}")
        self.status, self.document = status, document
        self.headers = {k.replace("_", "-"): v for k, v in headers.items()}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, already validated."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    raw: bytes = b""


class JsonServer:
    """Subclasses answer in `answer`. `faults` are used up one per request of their method: (method, what goes wrong)."""

    error_type = HttpError

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.faults: deque[tuple[str, HttpError | LoseAnswer | Callable[[], object]]] = deque()
        self.lock = threading.RLock()
        self._http: _Http | None = None

    @property
    def url(self) -> str:
        assert self._http is not None, "not started"
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def start(self) -> Any:
        self._http = _Http(("127.0.0.1", 0), _handler(self))  # type: ignore[arg-type]  # it calls `serve` only
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Gone, with every connection it still had; safe to call twice."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http.hang_up()
            self._http = None

    def authorize(self, asked: Asked) -> None:
        """Raises `HttpError` when the caller may not ask."""

    def answer(self, asked: Asked) -> Any:
        """The document, or (status, document). Raises `HttpError`."""
        raise NotImplementedError

    def ask(self, method: str, url: str, body: Any = None) -> Any:
        """Without a network between. Raises `HttpError`."""
        split = urlsplit(url)
        with self.lock:
            return self.answer(Asked(method, split.path, dict(parse_qsl(split.query)), {}, body))

    def serve(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Reply | None:
        """The answer, or None to hang up without one."""
        split = urlsplit(url)
        try:
            try:
                document = json.loads(body) if body else None
            except ValueError:
                raise HttpError(400, {"message": "no JSON"}) from None
            asked = Asked(method, split.path, dict(parse_qsl(split.query)), headers, document, body)
            self.authorize(asked)
            with self.lock:
                self.asked.append(asked)
                fault = self.faults.popleft()[1] if self.faults and self.faults[0][0] == method else None
            if isinstance(fault, HttpError):
                raise fault
            if callable(fault):
                fault()
            with self.lock:
                found = self.answer(asked)
            if isinstance(fault, LoseAnswer):
                return None
            status, found = found if isinstance(found, tuple) else (200, found)
            return Reply(status, json.dumps(found).encode(), {"Content-Type": "application/json"})
        except HttpError as error:
            data = b"" if error.document is None else json.dumps(error.document).encode()
            return Reply(error.status, data, {"Content-Type": "application/json", **error.headers})
