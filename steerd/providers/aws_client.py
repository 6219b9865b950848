"""The SDK's side of the AWS providers: credentials by the SDK's own chain, calls in a few threads, each with a deadline.

A call whose deadline passes while it waits for a thread, for credentials or for a role is never sent. One whose answer is
late has been sent: the caller is told `Unreachable` and reads back. The SDK never retries by itself.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from botocore import xform_name  # type: ignore[import-untyped]  # comes without types
from botocore.config import Config  # type: ignore[import-untyped]  # comes without types
from botocore.credentials import (  # type: ignore[import-untyped]  # comes without types
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import (  # type: ignore[import-untyped]  # comes without types
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.exceptions import ConnectionError as SdkConnectionError
from botocore.loaders import Loader  # type: ignore[import-untyped]  # comes without types
from botocore.session import Session  # type: ignore[import-untyped]  # comes without types

from steerd.providers.asking import remaining_s
from steerd.providers.aws import Meaning, account_of, code_and_message, is_denied, is_identity, told
from steerd.providers.base import Context, Misconfigured, ProviderError, Refused, Throttled, Unreachable
from steerd.providers.pace import Pace
from steerd.providers.settings import Settings

__all__ = ["Caller"]

THREADS = 4
"""Calls at once per entry of `providers:`; more wait for a thread, at most until their deadline."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 20.0
"""Where AWS throttles without saying for how long: doubled each time, half to one and a half of it at random."""

_NO_IDENTITY = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
    ProfileNotFound,
)


_MODELS = Loader()
"""The SDK's service descriptions, parsed once for all clients of this process."""


class _TooLateError(Exception):
    """The deadline passed before the request went out."""


class Caller:
    """One AWS service for one entry of `providers:`.

    `action` is the prefix of its IAM actions, `policy` the file name under packaging/aws/policies. `meaning` tells
    what the service's own error codes mean. `region` is used where neither the settings nor the SDK's chain name one.
    AWS counts calls per region, but for services with one endpoint for all (`region`, `global_region`); calls with an
    `endpoint` are counted by that. `aside`: it is another service than the entry's, whose `endpoint_url` is not its.
    """

    def __init__(
        self,
        context: Context,
        settings: Settings,
        service: str,
        *,
        action: str,
        policy: str,
        rate_per_s: float,
        meaning: Meaning | None = None,
        region: str | None = None,
        global_region: str | None = None,
        by_endpoint: bool = False,
        aside: bool = False,
    ) -> None:
        self._service, self._action, self._policy, self._meaning = service, action, policy, meaning
        self._timeout_s = settings.number("timeout", 0.05, 60)
        self._role = settings.maybe_text("role")
        self._endpoint = None if aside else settings.maybe_text("endpoint_url")
        self._region = global_region or settings.maybe_text("aws_region")
        self._fallback_region = region
        self._where = f"providers.{context.spec.name}"
        self._session_name = re.sub(r"[^\w+=,.@-]", "-", f"steerd-{context.fleet.name}")[:64]
        place = None if region or global_region else self._region or _region_of_chain()
        self._pace_of: Callable[[str | None], Pace] = lambda at: context.pace(
            account_of(self._role, service, at or place), rate_per_s
        )
        self._throttled_times: dict[str | None, int] = {}
        if not by_endpoint:
            self._pace(None)
        self._pool: ThreadPoolExecutor | None = None
        self._clients: dict[tuple[str | None, str | None], Any] = {}
        self._session: Any = None
        self._lock = threading.Lock()
        self._thread = threading.local()

    @property
    def timeout_s(self) -> float:
        """Of one call."""
        return self._timeout_s

    def _pace(self, endpoint: str | None) -> Pace:
        """What calls to this endpoint are held to."""
        return self._pace_of(endpoint)

    def close(self) -> None:
        """Calls that have not begun are dropped; safe to call twice."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        self._forget()

    def _forget(self) -> None:
        """The next call asks the SDK's chain anew: credentials may have come, or been renewed, since."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()
            self._session = None

    async def call(
        self,
        operation: str,
        deadline: float,
        params: Mapping[str, Any],
        *,
        endpoint: str | None = None,
        region: str | None = None,
        limit_s: float | None = None,
    ) -> dict[str, Any]:
        """One API call, at most `limit_s`. Raises a `ProviderError`. `endpoint` and `region` are for services with several
        endpoints of one meaning."""
        until = deadline if limit_s is None else min(deadline, asyncio.get_running_loop().time() + limit_s)
        await self._pace(endpoint).take(until)
        left = remaining_s(deadline, self._timeout_s if limit_s is None else min(limit_s, self._timeout_s))
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix=f"steerd-{self._service}")
        send = partial(self._send, operation, dict(params), time.monotonic() + left, endpoint, region)
        try:
            # A timeout cancels what has no thread yet; what has one looks at the clock right before it sends.
            async with asyncio.timeout(left):
                answer = await asyncio.get_running_loop().run_in_executor(self._pool, send)
        except TimeoutError:
            raise Unreachable(f"{operation}: AWS did not answer within {left:.1f} s") from None
        except _TooLateError:
            raise Unreachable(f"{operation}: the deadline passed before it was sent: nothing was sent") from None
        except ClientError as error:
            if error.operation_name == "AssumeRole":
                raise self._no_role(error, endpoint) from None
            raise self._answered(operation, error.response, endpoint) from None
        except BotoCoreError as error:
            raise self._failed(operation, error) from None
        self._throttled_times.pop(endpoint, None)
        return answer

    def _answered(self, operation: str, response: Mapping[str, Any], endpoint: str | None) -> ProviderError:
        special = self._meaning(*code_and_message(response), response) if self._meaning else None
        if special is not None:
            return special
        return self._common(operation, f"{self._action}:{operation}", response, endpoint)

    def _common(self, operation: str, action: str, response: Mapping[str, Any], endpoint: str | None) -> ProviderError:
        """What an error answer means with all services; the account is held back where it says so."""
        found = told(operation, action, self._policy, response)
        if isinstance(found, Throttled) and found.retry_after_s is None:
            pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** self._throttled_times.get(endpoint, 0))
            found.retry_after_s = pause_s * random.uniform(0.5, 1.5)  # noqa: S311  spreads callers, hides nothing
            self._throttled_times[endpoint] = min(self._throttled_times.get(endpoint, 0) + 1, 10)
        if isinstance(found, Throttled) and found.retry_after_s:
            self._pace(endpoint).pause(found.retry_after_s)
        return found

    def _no_role(self, error: ClientError, endpoint: str | None) -> ProviderError:
        if not is_denied(code_and_message(error.response)[0]):
            return self._common("AssumeRole", "sts:AssumeRole", error.response, endpoint)
        return Misconfigured(
            f"role {self._role} cannot be assumed: {error.response.get('Error', {}).get('Message', error)}",
            "name this host's own identity in the role's trust policy, and let that identity do sts:AssumeRole on it",
        )

    def _failed(self, operation: str, error: BotoCoreError) -> ProviderError:
        text = f"{operation}: {error}"
        if isinstance(error, _NO_IDENTITY):
            return Misconfigured(
                text,
                "give this process an identity the SDK's chain finds (instance profile, web identity, environment or"
                " AWS_PROFILE): `aws sts get-caller-identity` shows it",
            )
        if isinstance(error, NoRegionError):
            return Misconfigured(f"{self._where}: no AWS region is known", "set `aws_region` of this provider")
        if isinstance(error, ParamValidationError):
            return Refused(text, "an id or ARN of the config is not one AWS knows the shape of: compare it")
        if isinstance(error, SSLError):
            return Unreachable(
                text, "something between here and AWS answers with another certificate: look at the proxy"
            )
        if isinstance(error, (HTTPClientError, SdkConnectionError)):
            return Unreachable(text, "is the API endpoint reachable from here (proxy, VPC endpoint)?")
        return Misconfigured(text, "compare this provider's settings and the AWS configuration of this host")

    # -- in a thread -----------------------------------------------------------------------------------------------

    def _send(
        self, operation: str, params: dict[str, Any], until: float, endpoint: str | None, region: str | None
    ) -> dict[str, Any]:
        self._thread.until = until
        self._in_time()
        try:
            method: Callable[..., dict[str, Any]] = getattr(self._client(endpoint, region), xform_name(operation))
            return method(**params)
        except _NO_IDENTITY:
            self._forget()  # the SDK keeps that it found none
            raise
        except ClientError as error:
            if is_identity(code_and_message(error.response)[0]):
                self._forget()
            raise

    def _in_time(self, **_: Any) -> None:
        """Hooked in right before a request is sent, when credentials are there and all is signed."""
        if time.monotonic() >= self._thread.until:
            raise _TooLateError

    def _client(self, endpoint: str | None, region: str | None) -> Any:
        with self._lock:
            if (client := self._clients.get((endpoint, region))) is not None:
                return client
            if self._session is None:
                self._session = self._begin(region)
            client = self._session.create_client(
                self._service,
                region_name=region or self._home(self._session),
                endpoint_url=endpoint or self._endpoint,
                config=self._config(),
            )
            client.meta.events.register("before-send", self._in_time)
            self._clients[endpoint, region] = client
            return client

    def _config(self) -> Any:
        return Config(
            connect_timeout=self._timeout_s,
            read_timeout=self._timeout_s,
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=THREADS,
            user_agent_extra="steerd",
        )

    def _home(self, session: Any) -> str | None:
        """The region where a call names none."""
        found: str | None = self._region or session.get_config_variable("region") or self._fallback_region
        return found

    def _begin(self, region: str | None) -> Any:
        session = _session()
        if self._role is not None:
            own = session.get_credentials()
            if own is None:
                raise NoCredentialsError
            fetcher = AssumeRoleCredentialFetcher(
                client_creator=partial(
                    session.create_client, region_name=self._home(session) or region, config=self._config()
                ),
                source_credentials=own,
                role_arn=self._role,
                extra_args={"RoleSessionName": self._session_name},
            )
            session = _session()
            session.register_component("credential_provider", CredentialResolver([_Assumed(fetcher)]))
        return session


def _session() -> Any:
    session = Session()
    session.register_component("data_loader", _MODELS)
    return session


def _region_of_chain() -> str | None:
    try:
        found: str | None = _session().get_config_variable("region")
    except BotoCoreError:  # a profile that does not exist, say: the first call tells
        return None
    return found


class _Assumed(CredentialProvider):  # type: ignore[misc]  # its base comes without types
    """Credentials of a role, fetched when first used and again before they run out."""

    METHOD = "steerd-assume-role"

    def __init__(self, fetcher: Any) -> None:
        super().__init__()
        self._fetcher = fetcher

    def load(self) -> Any:
        """What the SDK asks once per session."""
        return DeferredRefreshableCredentials(self._fetcher.fetch_credentials, self.METHOD)
