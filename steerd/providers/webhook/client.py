"""The I/O of the webhook provider: signed messages to one URL, and its answers."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from steerd.model.kinds import Kind
from steerd.model.route import Capabilities, Desired, Fence, Observed, Route
from steerd.providers.base import Change, Conflict, Context, Misconfigured, ProviderError, Receipt, Verified
from steerd.providers.rest import Answer, Rest, read_secret
from steerd.providers.settings import Settings
from steerd.providers.webhook import CAPABILITIES, KIND
from steerd.providers.webhook.translate import (
    Seen,
    Write,
    differences,
    observed_from,
    read_message,
    seen_from,
    translate,
)

__all__ = ["Webhook", "signature"]


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`v1=` and the HMAC-SHA-256, in hex, of the timestamp, a dot and the body."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"v1={digest.hexdigest()}"


class Webhook:
    """One receiver."""

    kind: ClassVar[Kind] = KIND
    capabilities: Capabilities = CAPABILITIES

    def __init__(self, context: Context) -> None:
        settings = Settings(context.spec, KIND)
        self._context = context
        url = settings.text("url")
        self._key = settings.secret("secret")
        if self._key is None:
            raise settings.wrong("secret", "is required", "write `secret: {file: PATH}` or `{env: NAME}`")
        self._rest = Rest(
            f"the receiver of providers.{context.spec.name}",
            url,
            settings.number("timeout", 0.01, 60),
            authorize=self._sign,
            meaning=_meaning,
            pace=context.pace(f"webhook/{url}", settings.number("calls_per_s", 0.01, 1000)),
            ca=settings.maybe_text("ca"),
            hint="does the receiver run, and is `url` its address?",
        )

    async def open(self) -> None:
        """Checks that the key and the certificates can be read; the connection is made by the first call."""
        self._secret()
        self._rest.tls()

    async def close(self) -> None:
        """Close the connection; safe to call twice."""
        await self._rest.close()

    async def read(self, route: Route, deadline: float) -> Observed:
        """What the receiver says it serves."""
        return observed_from(route, await self._post(read_message(route), deadline))

    def translate(self, route: Route, desired: Desired, observed: Observed, fence: Fence) -> Change:
        """See `steerd.providers.webhook.translate`."""
        return translate(route, desired, observed, fence)

    async def apply(self, change: Change, deadline: float) -> Receipt:
        """One message; the receiver compares version and fence."""
        write: Write = change.payload
        seen = await self._post(write.message, deadline)
        if seen.fence != change.fence:
            raise Conflict(f"{change.route}: the receiver took the message and holds the fence {seen.fence}")
        return Receipt(change.route, f"version {seen.version}")

    async def verify(self, route: Route, change: Change, deadline: float) -> Verified:
        """The receiver's own word, asked anew."""
        observed = await self.read(route, deadline)
        wrong = differences(route, change.desired, observed)
        if not change.nothing and change.fence.newer_than(observed.fence):
            wrong.append("the fence there is not ours")
        return Verified(in_sync=not wrong, observed=observed, text="; ".join(wrong))

    async def _post(self, message: Mapping[str, Any], deadline: float) -> Seen:
        return seen_from((await self._rest.call("POST", "", deadline, message)).data)

    async def _sign(self, body: bytes, _deadline: float) -> Mapping[str, str]:
        timestamp = str(int(time.time()))
        return {"Steerd-Timestamp": timestamp, "Steerd-Signature": signature(self._secret(), timestamp, body)}

    def _secret(self) -> str:
        assert self._key is not None, "the constructor checked it"
        return read_secret(self._context, self._key, "the key of the signature")


def _meaning(answer: Answer, where: str) -> ProviderError | None:
    if answer.status in (401, 403):
        return Misconfigured(where, "compare `secret` with the receiver's, and the clocks of both (5 minutes)")
    if answer.status == 404:
        return Misconfigured(where, "the receiver knows no such route: compare `url` and the route's `backend`")
    return None
