"""The grammar of a streamed completion, of a chat or of plain text, as a state machine without I/O (probes.md, "User path").

    chunk*  then  a chunk with finish_reason  then  usage?  then  [DONE]?  then  the end

Legal variants: usage on the chunk that finishes; `finish_reason` in the last chunk with content; no `[DONE]` once a
`finish_reason` was seen; chunks without choices (usage, filter results). Not legal: an error frame, a frame that is no JSON
object, an end without `finish_reason`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from probes.http_status import is_full
from probes.outcome import Status
from probes.sse import Event

__all__ = ["ChatStream", "GrammarError"]

_TEXT_LIMIT = 16384
_BROKEN_FINISH = frozenset({"error", "abort", "aborted", "cancelled"})


class GrammarError(Exception):
    """The stream is not what a completion is. `status` is FAIL, or SATURATED for an error frame that says so."""

    def __init__(self, reason: str, detail: str | None = None, status: Status = Status.FAIL) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.status = status


class ChatStream:
    """Takes events in order and knows what was said so far.

    `text` is the answer, `reasoning` what came before it, `chunks` the number of deltas that said something,
    `tokens` what the server's `usage` counts (None without one). `plain` reads completions, whose choices have a `text` where
    those of a chat have a `delta`.
    """

    def __init__(self, *, plain: bool = False) -> None:
        self._plain = plain
        self.text = ""
        self.reasoning = ""
        self.tool_calls = 0
        self.chunks = 0
        self.finish_reason: str | None = None
        self.done = False
        self.completion_tokens: int | None = None
        self.total_tokens: int | None = None

    def take(self, event: Event) -> bool:
        """Take one event; True when it brought a delta that says something. Raises `GrammarError`."""
        if self.done:
            return False
        if event.data.strip() == "[DONE]":
            self.done = True
            self._must_be_finished("[DONE] without finish_reason")
            return False
        frame = _object(event.data)
        if event.name == "error" or frame.get("error"):
            raise _error_frame(frame)
        self._usage(frame.get("usage"))
        choices = frame.get("choices")
        if not isinstance(choices, list):
            if "usage" in frame:
                return False
            if frame.get("object") == "error" or "message" in frame:
                raise _error_frame(frame)  # vLLM and others also send the error without an envelope
            raise GrammarError("frame without choices", event.data)
        before = self.chunks
        for choice in choices:
            self._choice(choice)
        return self.chunks > before

    def end(self) -> None:
        """The connection was closed in order. Raises `GrammarError` when the completion had not finished."""
        self._must_be_finished("stream cut before its finish_reason")

    @property
    def said(self) -> bool:
        """True once any content, reasoning or tool call came."""
        return self.chunks > 0

    def _must_be_finished(self, reason: str) -> None:
        if self.finish_reason is None:
            raise GrammarError(reason, f"after {self.chunks} chunks: {self.text[-100:]!r}")

    def _choice(self, choice: Any) -> None:
        if not isinstance(choice, dict):
            raise GrammarError("frame with a choice that is no object", repr(choice))
        finish = choice.get("finish_reason")
        if finish is not None:
            if not isinstance(finish, str) or finish in _BROKEN_FINISH:
                raise GrammarError(f"finish_reason {finish!r}"[:80])
            self.finish_reason = finish
        delta = {"content": choice.get("text")} if self._plain else choice.get("delta")
        if delta is None:
            return
        if not isinstance(delta, dict):
            raise GrammarError("frame with a delta that is no object", repr(delta))
        content = _text(delta.get("content"))
        # vLLM and SGLang say reasoning_content, others reasoning.
        reasoning = _text(delta.get("reasoning_content")) or _text(delta.get("reasoning"))
        tools = delta.get("tool_calls")
        calls = len(tools) if isinstance(tools, list) else 0
        self.text = (self.text + content)[:_TEXT_LIMIT]
        self.reasoning = (self.reasoning + reasoning)[:_TEXT_LIMIT]
        self.tool_calls += calls
        self.chunks += bool(content or reasoning or calls)

    def _usage(self, usage: Any) -> None:
        if not isinstance(usage, Mapping):
            return
        # Some servers count along in every chunk: the last number is the one that holds.
        self.completion_tokens = _count(usage.get("completion_tokens"), self.completion_tokens)
        self.total_tokens = _count(usage.get("total_tokens"), self.total_tokens)


def _object(data: str) -> dict[str, Any]:
    try:
        frame = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise GrammarError("frame that is no JSON", f"{type(error).__name__}: {data[:200]}") from None
    if not isinstance(frame, dict):
        raise GrammarError("frame that is no JSON object", data[:200])
    return frame


def _error_frame(frame: Mapping[str, Any]) -> GrammarError:
    error = frame.get("error") or frame
    words = json.dumps(error)[:300]
    code = str(error.get("code") or error.get("type") or "") if isinstance(error, Mapping) else ""
    if code == "429" or is_full(words):
        return GrammarError("error frame: full", words, Status.SATURATED)
    return GrammarError("error frame in the stream", words)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any, otherwise: int | None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else otherwise
