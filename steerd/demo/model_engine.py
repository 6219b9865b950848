"""The engine behind the demo's model server: slots, a queue, and counters that move as tokens are made.

It has no weights. It answers small sums rightly and greets otherwise, token by token, so that everything in front of a real
engine (queueing, streaming, metrics) can be seen and broken on purpose.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

__all__ = ["Engine", "answer_to"]

_SUM = re.compile(r"(-?\d{1,9})\s*([-+*x])\s*(-?\d{1,9})")
_GREETING = "Hello! How can I help you today?"


def answer_to(question: str) -> str:
    """The right answer: the value of the first sum in `question`, else a greeting."""
    found = _SUM.search(question)
    if found is None:
        return _GREETING
    left, sign, right = int(found[1]), found[2], int(found[3])
    value = left + right if sign == "+" else left - right if sign == "-" else left * right
    return f"The answer is {value}."


@dataclass(slots=True)
class Engine:
    """`slots` requests run at once, the others wait. The first token takes `first_token_s`, each further one `token_s`;
    `factor` slows both. While `stalled`, nothing moves. `step` is awaited for each token, where another process makes it."""

    slots: int = 8
    first_token_s: float = 0.01
    token_s: float = 0.002
    factor: float = 1.0
    stalled: bool = False
    step: Callable[[], Awaitable[None]] | None = None
    running: int = 0
    waiting: int = 0
    steps: int = 0
    generation_tokens: int = 0
    prompt_tokens: int = 0
    finished: int = 0
    _moved: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def generate(self, text: str, prompt_tokens: int) -> AsyncIterator[str]:
        """The tokens of `text`, in time. Counts the request while it waits and runs, also when it is given up."""
        self.waiting += 1
        try:
            async with self._moved:
                await self._moved.wait_for(lambda: not self.stalled and self.running < self.slots)
                self.running += 1
        finally:
            self.waiting -= 1
        try:
            self.prompt_tokens += prompt_tokens
            for number, token in enumerate(re.findall(r"\s*\S+", text) or [""]):
                await asyncio.sleep(self.factor * (self.token_s if number else self.first_token_s))
                await self._while_stalled()
                if self.step is not None:
                    await self.step()
                self.steps += 1
                self.generation_tokens += 1
                yield token
            self.finished += 1
        finally:
            self.running -= 1
            await self.wake()

    async def wake(self) -> None:
        """Tell those who wait that something changed."""
        async with self._moved:
            self._moved.notify_all()

    async def _while_stalled(self) -> None:
        if self.stalled:
            async with self._moved:
                await self._moved.wait_for(lambda: not self.stalled)

    @property
    def usage(self) -> float:
        """How much of its cache is in use, 0..1."""
        return min(1.0, self.running / self.slots)
