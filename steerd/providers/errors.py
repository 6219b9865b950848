"""What can go wrong at a traffic system, each kind with what a human should do about it (providers.md)."""

from __future__ import annotations

__all__ = [
    "Conflict",
    "Denied",
    "HeldBack",
    "Incomplete",
    "Misconfigured",
    "ProviderError",
    "Refused",
    "Throttled",
    "Unreachable",
]


class ProviderError(Exception):
    """A write or read did not do what was asked. `text` says what happened, `action` what a human should do."""

    result: str = "refused"

    def __init__(self, text: str, action: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.action = action
        self.retry_after_s = retry_after_s


class Conflict(ProviderError):
    """Somebody else wrote in between, or a newer fence stands there. Nothing was changed by us."""

    result = "conflict"


class Throttled(ProviderError):
    """The system asks us to slow down; `retry_after_s` where it says how long."""

    result = "throttled"


class HeldBack(Throttled):
    """Our own pace held the call back: nothing was sent."""


class Refused(ProviderError):
    """The system understood and said no. Nothing was changed."""

    result = "refused"


class Unreachable(ProviderError):
    """No answer in time: the write may or may not have happened. Read back."""

    result = "unreachable"


class Misconfigured(ProviderError):
    """Our own settings are wrong (credentials, zone, backend name): retrying will not help."""

    result = "misconfigured"


class Denied(Misconfigured):
    """The credentials are known and may not do this."""


class Incomplete(ProviderError):
    """A write of several calls stopped after the first: `done` and `left` say what was written and what was not (of the first
    of `left`, an answer that got lost says nothing). Read back. `result` and `retry_after_s` are those of the `cause`."""

    def __init__(self, done: str, left: str, cause: ProviderError) -> None:
        super().__init__(f"written: {done}; not written: {left}: {cause.text}", cause.action, cause.retry_after_s)
        self.result = cause.result
