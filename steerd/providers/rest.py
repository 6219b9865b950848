"""One JSON API over HTTP, for the providers that speak to one: bounded in time and size, paced, errors told as the contract's.

Nothing is sent twice: after a timeout the caller reads back.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

import aiohttp
import msgspec

from steerd.model.fleet import Secret
from steerd.providers.asking import remaining_s
from steerd.providers.base import Conflict, Context, Misconfigured, ProviderError, Refused, Throttled, Unreachable
from steerd.providers.pace import Pace

__all__ = ["Answer", "Authorize", "Meaning", "Rest", "read_secret", "retry_after_s"]

ANSWER_BYTES = 16 * 1024 * 1024
"""The longest answer read."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
"""Of a throttled account where no time is named: doubles each time, half as much more or less by chance."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: `data` is its JSON, None where it is empty or none; `text` its first characters."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    data: Any = None
    text: str = ""


Authorize = Callable[[bytes, float], Awaitable[Mapping[str, str]]]
"""(body, deadline) -> the headers that say who asks. Raises a `ProviderError`."""

Meaning = Callable[[Answer, str], ProviderError | None]
"""(answer, "METHOD what: 4xx ...") -> what an error answer means to one provider, or None for the common meaning."""


def read_secret(context: Context, secret: Secret, what: str) -> str:
    """The value of a secret, read anew at each use. Raises `Misconfigured`."""
    try:
        value = context.resolve(secret).strip()
    except Exception as error:
        raise Misconfigured(f"{what}: {error}", "put the secret there: it is read anew at every use") from error
    if not value:
        raise Misconfigured(f"{what} is empty", "put the secret there: it is read anew at every use")
    return value


def retry_after_s(headers: Mapping[str, str], now_s: float) -> float | None:
    """Seconds a `Retry-After` asks for, bounded to 5 minutes; `now_s` is Unix time (RFC 9110, 10.2.3)."""
    given = headers.get("Retry-After", "").strip()
    try:
        wait_s = float(given)
    except ValueError:
        try:
            wait_s = parsedate_to_datetime(given).timestamp() - now_s
        except ValueError:
            return None
    return min(max(0.0, wait_s), 300.0) if wait_s == wait_s else None  # noqa: PLR0124  not a number


class Rest:
    """One API. `base` is its URL, `name` what messages call it, `hint` what to do when it is silent.

    Trusted are the system's certificates, those of the file `ca`, or what `trust` makes for a new connection.
    """

    def __init__(
        self,
        name: str,
        base: str,
        timeout_s: float,
        *,
        authorize: Authorize,
        meaning: Meaning,
        pace: Pace | None = None,
        ca: str | None = None,
        trust: Callable[[], ssl.SSLContext | None] | None = None,
        hint: str = "is its API reachable from here (proxy, firewall)?",
    ) -> None:
        self._name, self.base, self._timeout_s, self._hint = name, base.rstrip("/"), timeout_s, hint
        self._authorize, self._meaning, self._pace, self._ca = authorize, meaning, pace, ca
        self._trust = trust or self.tls
        self._session: aiohttp.ClientSession | None = None
        self._throttled_times = 0

    def tls(self) -> ssl.SSLContext | None:
        """What is trusted beside the system's own. Raises `Misconfigured`."""
        if self._ca is None:
            return None
        try:
            return ssl.create_default_context(cafile=self._ca)
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured(f"{self._ca} holds no certificates: {error}", "name a PEM file in `ca`") from None

    def path_in(self, url: str) -> str:
        """What follows the base in a URL that the API gave for a next page. Raises `Refused` where it leads elsewhere: the
        credentials are for this one."""
        base, found = urlsplit(self.base), urlsplit(url)
        path = found.path.removeprefix(base.path)
        if _origin(found) != _origin(base) or not found.path.startswith(f"{base.path}/"):
            raise Refused(f"{self._name} names a next page elsewhere: {url[:200]}", "compare its URL in the config")
        return f"{path}?{found.query}"

    async def close(self) -> None:
        """Close the connection; safe to call twice."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(
        self,
        method: str,
        path: str,
        deadline: float,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One call, `path` after the base. Raises a `ProviderError` for every answer of 300 and more."""
        if self._pace is not None:
            await self._pace.take(deadline)
        remaining_s(deadline, self._timeout_s)
        sent = b"" if body is None else msgspec.json.encode(body)
        known = await self._authorize(sent, deadline)
        left = remaining_s(deadline, self._timeout_s)
        told = {"Accept": "application/json", "User-Agent": "steerd", **known}
        if body is not None:
            told["Content-Type"] = "application/json"
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._trust() or True)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        asked = self._session.request(
            method, f"{self.base}{path}", data=sent or None, headers={**told, **(headers or {})}, allow_redirects=False
        )
        try:
            async with asyncio.timeout(left), asked as response:
                answer = _answer(response, await self._bounded(response))
        except TimeoutError:
            raise Unreachable(f"{self._name} did not answer within {left:.1f} s", self._hint) from None
        except aiohttp.ClientConnectorCertificateError as error:  # it is a ValueError too
            raise Unreachable(
                f"{self._name}: its certificate is not trusted: {error.certificate_error}",
                "is there a proxy between that has a certificate of its own? Nothing was sent",
            ) from None
        except (aiohttp.InvalidURL, ValueError) as error:
            raise Misconfigured(f"{self._name}: {self.base} is no URL: {error}", "correct it in the config") from None
        except aiohttp.ClientError as error:
            raise Unreachable(f"{self._name}: {str(error) or type(error).__name__}", self._hint) from None
        if answer.status >= 300:
            raise self._told(method, answer)
        self._throttled_times = 0
        return answer

    async def _bounded(self, response: aiohttp.ClientResponse) -> bytes:
        data = bytearray()
        async for chunk in response.content.iter_chunked(65536):
            data += chunk
            if len(data) > ANSWER_BYTES:
                raise Refused(f"{self._name} answers with more than {ANSWER_BYTES} bytes", "is it the right URL?")
        return bytes(data)

    def _told(self, method: str, answer: Answer) -> ProviderError:
        where = f"{self._name} answers {answer.status} to {method}{f': {answer.text}' if answer.text else ''}"
        error = self._meaning(answer, where) or _common(answer, where)
        if error.retry_after_s is None and isinstance(error, (Throttled, Unreachable)):
            error.retry_after_s = retry_after_s(answer.headers, time.time())
        if isinstance(error, Throttled):
            if error.retry_after_s is None:
                pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**self._throttled_times)
                error.retry_after_s = pause_s * random.uniform(0.5, 1.5)  # noqa: S311  spreads callers, hides nothing
                self._throttled_times = min(self._throttled_times + 1, 10)
            if self._pace is not None and error.retry_after_s:
                self._pace.pause(error.retry_after_s)
        return error


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    """Azure, for one, writes out the port that goes without saying."""
    return url.scheme, url.hostname, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _answer(response: aiohttp.ClientResponse, data: bytes) -> Answer:
    try:
        decoded = msgspec.json.decode(data) if data else None
    except msgspec.DecodeError:
        decoded = None
    text = _message(decoded) or data[:300].decode("utf-8", "replace").strip()
    return Answer(response.status, response.headers, decoded, text)


def _message(decoded: Any) -> str:
    """The sentence in an error document: Google's and Azure's `error.message`, Cloudflare's `errors`, Kubernetes' `message`."""
    if not isinstance(decoded, dict):
        return ""
    error, errors = decoded.get("error"), decoded.get("errors")
    if isinstance(errors, list):
        return "; ".join(f"{e.get('code')}: {e.get('message')}" for e in errors if isinstance(e, dict))[:300]
    if isinstance(error, dict):
        return str(error.get("message") or error.get("code") or "")[:300]
    return str(decoded.get("message") or error or "")[:300]


def _common(answer: Answer, where: str) -> ProviderError:
    if answer.status in (401, 403):
        return Misconfigured(
            where, "compare the credentials and their rights: `packaging/` holds the least that is enough"
        )
    if answer.status == 429:
        return Throttled(where, "if this lasts, ask for a higher limit or let fewer tools share the account")
    if answer.status in (409, 412):
        return Conflict(where)
    if answer.status >= 500 or answer.status == 408:
        return Unreachable(where, "that system has a problem; steerd goes on trying")
    if answer.status == 404:
        return Misconfigured(where, "compare the names in the config with what is there")
    return Refused(where, "steerd and that system disagree: compare their versions" if answer.status == 400 else "")
