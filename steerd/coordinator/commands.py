"""Operators' commands on their way: each waits for its answer, and for that answer's decision to be stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from steerd.core.effects import Answer
from steerd.core.events import OperatorCommand

__all__ = ["Commands"]

WITHIN_S = 10.0
MOST = 100


class Commands:
    """`post` hands a command to the engine; `answered` is to be called with what came back."""

    def __init__(self, post: Callable[[OperatorCommand], None]) -> None:
        self._post = post
        self._waiting: dict[str, asyncio.Future[Answer]] = {}

    async def ask(self, command: OperatorCommand) -> Answer:
        """The answer, after at most `WITHIN_S`."""
        if len(self._waiting) >= MOST or command.id in self._waiting:
            return Answer(command.id, "invalid", "this command, or too many others, are being carried out already")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[command.id] = answer
        self._post(command)
        try:
            async with asyncio.timeout(WITHIN_S):
                return await answer
        except TimeoutError:
            return Answer(command.id, "not-persisted", f"no answer in {WITHIN_S:g} s: it may still take effect")
        finally:
            self._waiting.pop(command.id, None)

    def answered(self, answer: Answer) -> None:
        """Nobody may be waiting any more."""
        waiting = self._waiting.get(answer.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def end(self, result: str, text: str) -> None:
        """Answer everybody who still waits."""
        for command in list(self._waiting):
            self.answered(Answer(command, result, text))
