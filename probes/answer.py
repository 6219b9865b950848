"""Is the answer right? Questions with patterns, and signs of gibberish. Never a comparison with a stored answer: batching
changes tokens, so a healthy model does not repeat itself to the letter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from probes.chat_stream import ChatStream
from probes.errors import SettingError
from probes.settings import pattern

__all__ = ["DEFAULT_PROMPTS", "Prompt", "prompts_of", "wrong"]

_REPEATS = 8
"""One character, or one word, this many times and nothing else is gibberish."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question. An answer passes when any of `expect` is found in it; without any, every answer that is not gibberish
    does."""

    ask: str
    expect: tuple[re.Pattern[str], ...] = ()


DEFAULT_PROMPTS = (Prompt("Say hello in one word."),)
"""Asked where a check names no question: any answer that is language passes."""


def prompts_of(value: Any) -> tuple[Prompt, ...]:
    """The questions that a config's `prompts` means. Raises `SettingError`."""
    if value is None:
        return DEFAULT_PROMPTS
    items = value if isinstance(value, (list, tuple)) else [value]
    found = []
    for item in items:
        if isinstance(item, str):
            found.append(Prompt(item))
            continue
        if not isinstance(item, Mapping) or not isinstance(item.get("ask"), str) or set(item) - {"ask", "expect"}:
            raise SettingError("prompts: write a list of {ask: QUESTION, expect: PATTERN}")
        expect = item.get("expect")
        expected = [] if expect is None else expect if isinstance(expect, (list, tuple)) else [expect]
        found.append(Prompt(item["ask"], tuple(pattern("prompts.expect", str(one)) for one in expected)))
    if not found:
        raise SettingError("prompts: name at least one question")
    return tuple(found)


def wrong(prompt: Prompt, said: ChatStream) -> tuple[str, str] | None:
    """Reason and detail of what is wrong with a finished answer, or None."""
    text = said.text.strip()
    if not text and not said.reasoning.strip() and not said.tool_calls:
        return "empty answer", f"to {prompt.ask!r}, finish_reason {said.finish_reason}"
    for part in (text, said.reasoning.strip()):
        sign = _gibberish(part)
        if sign is not None:
            return sign, f"{part[:100]!r} to {prompt.ask!r}"
    if not prompt.expect or any(one.search(said.text) for one in prompt.expect):
        return None
    if _cut_while_thinking(said):
        return None
    patterns = " or ".join(one.pattern for one in prompt.expect)
    return "wrong answer", f"{text[:100]!r} to {prompt.ask!r}, expected {patterns}"


def _gibberish(text: str) -> str | None:
    if len(text) >= _REPEATS and len(set(text)) == 1:
        return "gibberish: one character repeated"
    words = text.split()
    if len(words) >= _REPEATS and len(set(words)) == 1:
        return "gibberish: one word repeated"
    return None


def _cut_while_thinking(said: ChatStream) -> bool:
    """True when our own token limit ended the answer before it began: nothing can be said of it then."""
    if said.finish_reason not in ("length", "content_filter", "tool_calls"):
        return False
    text = said.text.lstrip()
    return not text or (text.startswith("<think") and "</think" not in text) or said.finish_reason != "length"
