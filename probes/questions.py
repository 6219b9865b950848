"""Which question a look asks: prompts in turn, with a fixed beginning and with one never seen before, and now and then a long one.

A prompt that begins as the last one did is answered out of the prefix cache; one that begins with a nonce is not. Either way may be
broken alone, so the turns alternate.

A long question that nobody set is on trial until one was answered well: it comes after a short one, which decides where the target
has no room or no time for it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Literal

from probes.answer import Prompt

__all__ = ["Prefix", "Question", "Rota"]

Prefix = Literal["both", "fixed", "nonce"]

_LINE = "Note {}: the harbour is quiet and the lamps along the quay are lit."
_LINE_WORDS = len(_LINE.split())
_AFTER = "The notes above do not matter."


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt as it is put: `nonce` begins it (empty: as it is), `words` of filler come before it."""

    prompt: Prompt
    nonce: str = ""
    words: int = 0

    @property
    def long(self) -> bool:
        """True for the long-context canary."""
        return self.words > 0

    @property
    def text(self) -> str:
        """What is sent."""
        parts = [f"Request {self.nonce}."] if self.nonce else []
        if self.words:
            parts += [_LINE.format(number) for number in range(1, 2 + self.words // _LINE_WORDS)] + [_AFTER]
        return "\n".join([*parts, self.prompt.ask])


@dataclass(slots=True)
class _Turn:
    looks: int = 0
    again: Question | None = None
    long_well: bool = False
    too_long: bool = False


class Rota:
    """Whose turn it is, per target. `long_every`: every n-th look asks with `long_words` of filler before the question; `unasked`:
    nobody set that.
    """

    def __init__(
        self,
        prompts: tuple[Prompt, ...],
        prefix: Prefix = "both",
        *,
        long_every: int | None = None,
        long_words: int = 2000,
        unasked: bool = False,
    ) -> None:
        self._prompts = prompts
        self._prefix = prefix
        self._long_every = long_every
        self._long_words = long_words
        self._unasked = unasked
        self._turns: dict[str, _Turn] = {}

    def next(self, target: str, *, confirm: bool) -> list[Question]:
        """What the next look asks, in order. A question that went wrong is asked again until it goes well. A confirm also asks the
        long one, where there is one: nobody knows which of them it was that failed at another agent. One on trial is always the
        last of two.
        """
        turn = self._turns.setdefault(target, _Turn())
        number = turn.looks
        turn.looks += 1
        prompt = self._prompts[number % len(self._prompts)]
        lapped = (number // len(self._prompts)) % 2 == 1
        fresh = self._prefix == "nonce" or (self._prefix == "both" and lapped)
        every = None if turn.too_long else self._long_every
        if turn.again is not None:
            again = turn.again
            first = replace(again, nonce=_nonce()) if again.nonce else again
        elif every is not None and number % every == every - 1:
            first = self._long(prompt)
        else:
            first = Question(prompt, _nonce() if fresh else "")
        trial = self._on_trial(turn)
        if (confirm and every is not None) or (first.long and trial):
            asked = [first, Question(prompt) if first.long else self._long(prompt)]
            return sorted(asked, key=lambda question: question.long) if trial else asked
        return [first]

    def others(self, question: Question) -> list[Question]:
        """Two further opinions on a wrong answer: other prompts where there are, and always another beginning."""
        at = self._prompts.index(question.prompt)
        others = [self._prompts[(at + step) % len(self._prompts)] for step in (1, 2)]
        return [Question(prompt, _nonce(), question.words) for prompt in others]

    def ended(self, target: str, question: Question, *, well: bool) -> None:
        """Tell how a question went."""
        turn = self._turns.setdefault(target, _Turn())
        turn.long_well = turn.long_well or (well and question.long)
        if not well:
            turn.again = question
        elif turn.again is not None and turn.again.prompt == question.prompt and turn.again.words == question.words:
            turn.again = None

    def give_up_long(self, target: str) -> bool:
        """The target refused a long question, or took too long for it. True for one on trial: the target has no room for it, or
        reads prompts slowly, and is asked no more of them.
        """
        turn = self._turns.setdefault(target, _Turn())
        if not self._on_trial(turn):
            return turn.too_long
        turn.too_long = True
        if turn.again is not None and turn.again.long:
            turn.again = None
        return True

    def forget(self, target: str) -> None:
        """The target is gone."""
        self._turns.pop(target, None)

    def _on_trial(self, turn: _Turn) -> bool:
        return self._unasked and not turn.long_well

    def _long(self, prompt: Prompt) -> Question:
        return Question(prompt, _nonce(), self._long_words)


def _nonce() -> str:
    return secrets.token_hex(4)
