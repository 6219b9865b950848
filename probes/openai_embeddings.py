"""`openai-embeddings`: two texts embedded in one request, and what must hold for any vectors that mean something.

A fixed text and one with a nonce are sent together: vectors of numbers, of one length, neither all the same number nor equal to
each other. Readings: `embed_s` (seconds to the answer), `dimensions`.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from probes.addresses import AddressTurns
from probes.clock import StageClock
from probes.guard import result, scrubbed
from probes.json_call import Answer, JsonCaller, limited, tokens_in
from probes.json_path import values_at
from probes.outcome import Layer, Outcome, Status
from probes.settings import Resolve, number, substitute, text
from probes.target import Target

__all__ = ["EmbeddingsProbe", "build"]

_TEXT = "The quick brown fox jumps over the lazy dog."


class EmbeddingsProbe:
    """See the module's text. One instance serves one check on any number of targets."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        self.layer = layer
        self._addresses = AddressTurns()
        self._caller = JsonCaller(layer, settings, resolve, max_bytes=1_048_576)
        self._path = text(settings, "path", "/v1/embeddings") or ""
        self._model = text(settings, "model", "$model") or "$model"
        self._input = text(settings, "input", _TEXT) or _TEXT
        self._dimensions = number(settings, "dimensions")
        self._slow_s = number(settings, "slow")
        self._body = dict(settings.get("body") or {})

    async def look(self, target: Target, deadline: float, *, fresh: bool = False) -> Outcome:  # noqa: ARG002 - always fresh
        """Embed two texts. See `probes.probe.Probe`."""

        async def ask() -> Outcome:
            clock, hidden = StageClock(), list[str]()
            work = self._embed(target, clock, hidden)
            outcome = await limited(self.layer, deadline, self._caller.connect_s, clock, work)
            if clock.asked and not outcome.tokens and outcome.status is not Status.ERROR:
                outcome = replace(
                    outcome, tokens=2 * tokens_in(self._input.encode())
                )  # it does not count, or never got to it
            return scrubbed(outcome, hidden)

        return await self._addresses.look(target, deadline, ask)

    def forget(self, target: str) -> None:
        """See `probes.probe.Probe`."""
        self._addresses.forget(target)

    async def close(self) -> None:
        """Close all connections; safe to call twice."""
        await self._caller.close()

    async def _embed(self, target: Target, clock: StageClock, hidden: list[str]) -> Outcome:
        texts = [self._input, f"{secrets.token_hex(4)} {self._input}"]
        body = {"model": substitute(self._model, target), "input": texts, "encoding_format": "float", **self._body}
        answer = await self._caller.post(target, clock, self._path, body, hidden)
        wrong = self._wrong(answer)
        if wrong is not None:
            layer = Layer.CORRECTNESS if wrong[2] else self.layer
            return result(
                Status.FAIL, layer, clock, wrong[0], detail=wrong[1], version=answer.version, tokens=answer.tokens
            )
        size = len(next(values_at(answer.document, "data.0.embedding")))
        readings = {"embed_s": clock.elapsed_s, "dimensions": float(size)}
        slow = self._slow_s is not None and clock.elapsed_s > self._slow_s
        return result(
            Status.SLOW if slow else Status.PASS,
            self.layer,
            clock,
            f"slower than {self._slow_s:g} s" if slow else None,
            version=answer.version,
            readings=readings,
            tokens=answer.tokens,
        )

    def _wrong(self, answer: Answer) -> tuple[str, str, bool] | None:
        """Reason, detail, and whether it is the meaning (rather than the form) that is wrong."""
        vectors = list(values_at(answer.document, "data.*.embedding"))
        if len(vectors) != 2:
            return "answer has not one vector for each text", f"{len(vectors)} of 2", False
        for vector in vectors:
            if not isinstance(vector, list) or not vector:
                return "embedding is no vector", repr(vector)[:100], False
            if not all(_finite(value) for value in vector):
                return "embedding has values that are no numbers", repr(vector[:4]), True
            if len(vector) > 1 and len(set(vector)) == 1:
                return "embedding is one number repeated", f"{len(vector)} times {vector[0]!r}", True
        first, second = vectors
        if len(first) != len(second) or (self._dimensions is not None and len(first) != int(self._dimensions)):
            wanted = "" if self._dimensions is None else f", {self._dimensions:g} are expected"
            return "embedding has the wrong length", f"{len(first)} and {len(second)}{wanted}", False
        if first == second:
            return "two texts have the same embedding", f"{first[:4]!r}...", True
        return None


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> EmbeddingsProbe:
    """See `probes.registry.make`."""
    return EmbeddingsProbe(layer, settings, resolve)
