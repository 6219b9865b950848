"""Requests to AWS: credentials and signatures by botocore, everything else by the probes' own bounded, timed HTTP.

botocore's clients would read a megabyte of service descriptions, retry by themselves and block the event loop.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import Mapping
from typing import Any

from botocore.auth import S3SigV4Auth, SigV4Auth  # type: ignore[import-untyped]  # comes without types
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]  # comes without types
from botocore.credentials import Credentials, ReadOnlyCredentials  # type: ignore[import-untyped]  # comes without types
from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]  # comes without types
from botocore.session import Session  # type: ignore[import-untyped]  # comes without types
from yarl import URL

from probes.clock import StageClock
from probes.deps.web import Answer, Web, based
from probes.errors import MisconfiguredError
from probes.http_client import Request
from probes.http_status import shown
from probes.json_path import BadJsonError, parse
from probes.settings import Resolve, Text, text
from probes.target import Target
from probes.tls_context import TlsSettings

__all__ = ["Aws", "error_of"]

DENIED = re.compile(
    r"AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|UnrecognizedClient|InvalidClientTokenId|ExpiredToken|AuthFailure"
    r"|InvalidSecurity|MissingAuthentication|RequestTimeTooSkewed|AuthorizationHeaderMalformed|IncompleteSignature"
)
"""Error codes that are about who asks."""

_PATIENCE_S = 1.0
"""Seconds a look waits for credentials. Not the target's: what is late then is an ERROR."""

_MAX_BYTES = 4 << 20
"""Bytes of an answer that are read: a thousand objects with names as long as they may be are less than 2 MiB."""

_CODE = re.compile(r"<Code>([^<]{1,100})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,500})</Message>")


class Aws:
    """Signs and sends for one probe. Credentials are those of the environment, profile or role that boto finds, or
    `access_key` and `secret_key`.
    """

    def __init__(self, settings: Mapping[str, Any], resolve: Resolve) -> None:
        self.region = text(settings, "region")
        self.endpoint = text(settings, "endpoint_url")
        self._profile = text(settings, "profile")
        self._access_key = text(settings, "access_key")
        secret = settings.get("secret_key")
        self._secret_key = None if secret is None else Text(secret)
        self._resolve = resolve
        self._web = Web(TlsSettings(text(settings, "ca")), _MAX_BYTES)
        self._session: Session | None = None
        self._credentials: Credentials | None = None
        self._fetching: asyncio.Task[ReadOnlyCredentials] | None = None

    async def close(self) -> None:
        """Safe to call twice."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait((self._fetching,))
            self._fetching = None
        await self._web.close()

    def url(self, service: str) -> URL:
        """Where `service` is. Raises `MisconfiguredError`."""
        return based(self.endpoint or f"https://{service}.{self._where()}.amazonaws.com")

    async def send(
        self,
        service: str,
        request: Request,
        target: Target,
        clock: StageClock,
        hidden: list[str],
    ) -> Answer:
        """The answer to `request`, signed. Raises `MisconfiguredError` when there is nothing to sign with."""
        credentials = await self._known(hidden)
        signed = AWSRequest(request.method, str(request.url), dict(request.headers), request.body or b"")
        kind = S3SigV4Auth if service == "s3" else SigV4Auth
        kind(credentials, service, self._where()).add_auth(signed)
        headers = {str(name): str(value) for name, value in signed.headers.items()}
        # What was signed must be sent as it is.
        return await self._web.ask(Request(request.method, request.url, headers, request.body), target, clock)

    async def call(
        self,
        service: str,
        url: URL,
        action: str,
        body: Mapping[str, Any],
        target: Target,
        clock: StageClock,
        hidden: list[str],
    ) -> tuple[Answer, Any]:
        """One call of a JSON API: the answer and its document (None when it is not JSON)."""
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": action}
        request = Request("POST", url, headers, json.dumps(body).encode())
        answer = await self.send(service, request, target, clock, hidden)
        try:
            return answer, answer.json()
        except BadJsonError:
            return answer, None

    def _where(self) -> str:
        if self.region is None:
            self.region = self._boto().get_config_variable("region")
        if self.region is None:
            raise MisconfiguredError("no AWS region is known: set `region` of this check")
        return self.region

    def _boto(self) -> Session:
        if self._session is None:
            self._session = Session(profile=self._profile)
        return self._session

    async def _known(self, hidden: list[str]) -> ReadOnlyCredentials:
        if self._access_key is not None and self._secret_key is not None:
            secret = self._secret_key.read(self._resolve, "secret_key")
            hidden.append(secret)
            return ReadOnlyCredentials(self._access_key, secret, None)
        # May ask the instance's metadata or a token service, and blocks meanwhile. A look that runs out of time leaves the
        # attempt to the next one instead of starting another.
        if self._fetching is None:
            self._fetching = asyncio.ensure_future(asyncio.to_thread(self._fetch))
        done, _ = await asyncio.wait((self._fetching,), timeout=_PATIENCE_S)
        if not done:
            raise MisconfiguredError(
                "AWS credentials are slow to come: their metadata or token service does not answer"
            )
        fetching, self._fetching = self._fetching, None
        try:
            found = fetching.result()
        except BotoCoreError as error:
            raise MisconfiguredError(f"AWS credentials cannot be had: {error}") from error
        hidden += [found.secret_key, *([found.token] if found.token else [])]
        return found

    def _fetch(self) -> ReadOnlyCredentials:
        if self._credentials is None:
            self._credentials = self._boto().get_credentials()
        if self._credentials is None:
            raise MisconfiguredError(
                "no AWS credentials: set `profile`, or `access_key` and `secret_key`, or give a role"
            )
        found: ReadOnlyCredentials = self._credentials.get_frozen_credentials()
        return found


def error_of(answer: Answer) -> tuple[str, str]:
    """Code and words of an AWS error, in XML or JSON."""
    text_ = answer.body[:8192].decode("utf-8", "replace")
    code, message = _CODE.search(text_), _MESSAGE.search(text_)
    if code is not None:
        return code[1], html.unescape(message[1]) if message else code[1]
    try:
        document = parse(answer.body)
    except BadJsonError:
        return f"HTTP {answer.status}", shown(answer.body)
    kind = document.get("__type", "") if isinstance(document, Mapping) else ""
    return str(kind).rpartition("#")[2] or f"HTTP {answer.status}", shown(answer.body)
