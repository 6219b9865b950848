"""Is the answer right? Questions with patterns, and signs of gibberish. Never a comparison with a stored answer: batching
changes tokens, so a healthy model does not repeat itself to the letter."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from probes.chat_stream import ChatStream
from probes.errors import SettingError
from probes.settings import pattern

__all__ = ["DEFAULT_PROMPTS", "WRONG", "Prompt", "prompts_of", "wrong"]

WRONG = "wrong answer"
"""The reason of an answer that is language and not what was asked for; other questions may still be answered rightly."""

_REPEATS = 8
"""One character, or one word, this many times and nothing else is gibberish."""

_MIX_READ = 2000
_MIX_LETTERS = 12
_MIX_SHARE = 0.1
_MIX_SCRIPTS = 3
"""Scripts that each have a tenth of the letters at least: two may stand in one answer (a name, a translation)."""

_EAST_ASIAN = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "HALFWIDTH", "FULLWIDTH"})


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
    return WRONG, f"{text[:100]!r} to {prompt.ask!r}, expected {patterns}"


def _gibberish(text: str) -> str | None:
    if len(text) >= _REPEATS and len(set(text)) == 1:
        return "gibberish: one character repeated"
    words = text.split()
    if len(words) >= _REPEATS and len(set(words)) == 1:
        return "gibberish: one word repeated"
    return _script_mix(text)


def _script_mix(text: str) -> str | None:
    """Letters of three or more unrelated scripts within a short answer: what broken weights and broken kernels say."""
    letters = [letter for letter in text[:_MIX_READ] if letter.isalpha()]
    if len(letters) < _MIX_LETTERS:
        return None
    counts = Counter(_script(letter) for letter in letters)
    many = [script for script, count in counts.items() if count >= _MIX_SHARE * len(letters)]
    return "gibberish: many scripts mixed" if len(many) >= _MIX_SCRIPTS else None


def _script(letter: str) -> str:
    """The script that a letter's Unicode name begins with; those that one language mixes count as one."""
    script = unicodedata.name(letter, "UNKNOWN").split(" ", maxsplit=1)[0]
    return "CJK" if script in _EAST_ASIAN else script


def _cut_while_thinking(said: ChatStream) -> bool:
    """True when our own token limit ended the answer before it began: nothing can be said of it then."""
    if said.finish_reason not in ("length", "content_filter", "tool_calls"):
        return False
    text = said.text.lstrip()
    return not text or (text.startswith("<think") and "</think" not in text) or said.finish_reason != "length"
