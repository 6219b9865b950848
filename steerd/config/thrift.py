"""Budgets that do not pay for what the intervals ask for: worth knowing before the first morning without a canary."""

from __future__ import annotations

from collections.abc import Iterator

from steerd.model.fleet import Check, Fleet
from steerd.model.sample import Layer

__all__ = ["LONG_EVERY", "LONG_WORDS", "thin_budgets"]

_PAID = frozenset({Layer.USER_PATH, Layer.CORRECTNESS})
_DAY_S = 86400.0
_WORD_TOKENS = 1.3
LONG_EVERY, LONG_WORDS = 120, 2000
"""As `probes.catalog_paths` has them: the config knows probes by their settings only."""

_PROMPT_TOKENS = 30
"""Tokens of a small question, the chat template's included."""


def thin_budgets(fleet: Fleet) -> Iterator[str]:
    """One line for each budget that pays for less than the looks that its checks' intervals ask for."""
    asked = 0.0
    for service in fleet.services:
        for check in service.checks:
            if check.layer not in _PAID:
                continue
            tokens = _cost(check) * _DAY_S / check.interval_s
            asked += tokens * len(service.endpoints)
            budget = check.settings.get("budget")
            allowed = budget.get("tokens_per_day") if budget else None
            if allowed is not None and allowed < tokens:
                yield f"service {service.name}: {_text(check.name, allowed, tokens)}"
    if fleet.tokens_per_day is not None and fleet.tokens_per_day < asked:
        yield f"the fleet's budget of {fleet.tokens_per_day} tokens a day is under the {asked:.0f} that its intervals ask for"


def _cost(check: Check) -> float:
    """Tokens of a look, with its part of the long questions."""
    small = float(check.settings.get("max_tokens") or 16) + _PROMPT_TOKENS
    given = check.settings.get("long_every")
    every = LONG_EVERY if given is None else int(given)
    if every == 0 or not check.kind.startswith("openai-") or check.kind == "openai-embeddings":
        return small
    return small + float(check.settings.get("long_words") or LONG_WORDS) * _WORD_TOKENS / every


def _text(check: str, allowed: float, tokens: float) -> str:
    part = allowed / tokens
    return f"the budget of {check} pays for about {part:.0%} of the looks that its interval asks for, by turns left out"
