"""Google's own credential chain (Application Default Credentials), asked in threads: the only module that names google.auth."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import google.auth
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError, TransportError
from google.auth.transport.requests import Request

from steerd.providers.asking import remaining_s
from steerd.providers.base import Misconfigured, ProviderError, Unreachable

__all__ = ["Identity", "no_identity"]


def no_identity(error: Exception) -> ProviderError:
    """What a failure of the credential chain means."""
    text = f"no Google credentials: {error.args[0] if error.args else error}"
    if isinstance(error, TransportError) or (isinstance(error, RefreshError) and error.retryable):
        return Unreachable(text, "is the metadata server or token service reachable from here?")
    return Misconfigured(
        text,
        "attach a service account, use workload identity, or set GOOGLE_APPLICATION_CREDENTIALS:"
        " `gcloud auth application-default print-access-token` shows what is found",
    )


class Identity:
    """Credentials found once and refreshed before they run out. One thread: refreshing twice at once helps nobody."""

    def __init__(self, scope: str, timeout_s: float) -> None:
        self._scope, self._timeout_s = scope, timeout_s
        self._lock = threading.Lock()
        self._credentials: Any = None
        self._pool: ThreadPoolExecutor | None = None

    def credentials(self) -> Any:
        """Found by the chain. Blocks; raises google's own errors."""
        with self._lock:
            if self._credentials is None:
                self._credentials, _ = google.auth.default(scopes=[self._scope])
            return self._credentials

    def _token(self) -> str:
        found = self.credentials()
        with self._lock:
            if not found.valid:
                found.refresh(Request())
            return str(found.token)

    async def token(self, deadline: float) -> str:
        """A bearer token. Raises `Misconfigured` or `Unreachable`."""
        left = remaining_s(deadline, self._timeout_s)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="steerd-google-auth")
        try:
            async with asyncio.timeout(left):
                return await asyncio.get_running_loop().run_in_executor(self._pool, self._token)
        except TimeoutError:
            raise Unreachable(
                f"no Google credentials within {left:.1f} s", "is the metadata server reachable?"
            ) from None
        except (DefaultCredentialsError, GoogleAuthError) as error:
            raise no_identity(error) from None

    def close(self) -> None:
        """Drops what has not begun; safe to call twice."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        self._credentials = None
