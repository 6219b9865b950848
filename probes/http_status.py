"""What an HTTP status that was not asked for says, and whose fault it is."""

from __future__ import annotations

import re

from probes.faults import Fault
from probes.json_path import BadJsonError, parse, values_at
from probes.outcome import Status

__all__ = ["is_full", "no_model", "shown", "status_fault"]

_FULL = re.compile(
    r"(?i)queue.{0,20}full|over(?:loaded|_?capacity)|at capacity|too many (?:requests|concurrent)|rate.?limit"
    r"|no free slot|engine.{0,20}busy"
)
_NO_MODEL = re.compile(
    r"(?i)\bmodel\b.{0,200}?(?:not found|not exist|not available|unknown|no such)|(?:unknown|no such|invalid) model"
)
_UNLOADED = re.compile(
    r"(?i)\bmodel\b.{0,200}?(?:not (?:been |currently )?loaded|unloaded)|\bno models? (?:is |are )?loaded"
)
_UNREADY = re.compile(r"(?i)\bmodel\b.{0,200}?not (?:yet )?ready")
_SHOWN = 200


def status_fault(status: int, body: bytes, *, reads_queue: bool = False) -> Fault:
    """The fault of an answer whose status is not among those that pass.

    429 is saturated; so is a 5xx that says the queue is full, where `reads_queue`. A refusal of the request itself
    (400, 401, 403, 407, 422) is the probe's: its key or its settings are wrong (probes.md, "User path").
    """
    words = shown(body)
    if status == 429 or (reads_queue and status >= 500 and is_full(words)):
        return Fault(Status.SATURATED, f"HTTP {status}: full", detail=words or None)
    if status in (401, 403, 407):
        advice = "the endpoint refuses the probe's credentials: fix `api_key` (or `headers`) of this check"
        return Fault(Status.ERROR, f"HTTP {status}: credentials refused", detail=_joined(advice, words))
    if status in (400, 422):
        advice = "the endpoint refuses the probe's request: fix the settings of this check"
        return Fault(Status.ERROR, f"HTTP {status}: request refused", detail=_joined(advice, words))
    return Fault(Status.FAIL, f"HTTP {status}", detail=words or None)


def is_full(words: str) -> bool:
    """True when a server's own words say that its queue is full or that it is overloaded."""
    return _FULL.search(words) is not None


def no_model(status: int, words: str) -> str | None:
    """The reason, when a refusal of the request says in the server's own words that it has not got the model asked for.

    A front whose engine process died may say so with a 400 (llama.cpp's router does: "model is not loaded").
    """
    if status not in (400, 404, 422):
        return None
    reasons = ((_UNLOADED, "model not loaded"), (_UNREADY, "model not ready"), (_NO_MODEL, "model not found"))
    return next((reason for pattern, reason in reasons if pattern.search(words)), None)


def shown(body: bytes) -> str:
    """What a body says, for a human: the message of a JSON error where it is one, else its beginning."""
    return (_message(body) or body[: 4 * _SHOWN].decode("utf-8", "replace"))[:_SHOWN].strip()


def _message(body: bytes) -> str | None:
    try:
        found = parse(body)
    except BadJsonError:
        return None
    for path in ("error.message", "message", "error", "detail"):
        for value in values_at(found, path):
            if isinstance(value, str) and value:
                return value
    return None


def _joined(advice: str, words: str) -> str:
    return f"{advice} ({words})" if words else advice
