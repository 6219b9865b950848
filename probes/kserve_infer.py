"""`kserve-infer`: one inference of the open inference protocol, over HTTP (KServe's "Predict Protocol - Version 2").

`inputs` are sent as they are configured; the answer must have `outputs` whose data are as many as their shape says and finite, and
meet the conditions of `json`. Readings: `infer_s` (seconds to the answer).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from probes.addresses import AddressTurns
from probes.clock import StageClock
from probes.errors import MisconfiguredError, SettingError
from probes.guard import result, scrubbed
from probes.json_call import JsonCaller, limited
from probes.json_path import conditions_of
from probes.outcome import Layer, Outcome, Status
from probes.settings import MODEL, Resolve, number, substitute, text
from probes.target import Target

__all__ = ["InferProbe", "build", "inputs_of", "wrong"]

_TENSOR = {"name", "shape", "datatype", "data", "parameters"}


class InferProbe:
    """See the module's text. One instance serves one check on any number of targets."""

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        self.layer = layer
        self._addresses = AddressTurns()
        self._caller = JsonCaller(layer, settings, resolve, max_bytes=1_048_576)
        self._path = text(settings, "path", "/v2/models/$model/infer") or ""
        self._model = text(settings, "model", MODEL) or MODEL
        self._inputs = inputs_of(settings.get("inputs"))
        self._conditions = conditions_of(settings.get("json"))
        self._slow_s = number(settings, "slow")
        self._body = dict(settings.get("body") or {})

    async def look(self, target: Target, deadline: float, *, fresh: bool = False) -> Outcome:  # noqa: ARG002 - always fresh
        """Infer once. See `probes.probe.Probe`."""

        async def ask() -> Outcome:
            clock, hidden = StageClock(), list[str]()
            work = self._infer(target, clock, hidden)
            return scrubbed(await limited(self.layer, deadline, self._caller.connect_s, clock, work), hidden)

        return await self._addresses.look(target, deadline, ask)

    def forget(self, target: str) -> None:
        """See `probes.probe.Probe`."""
        self._addresses.forget(target)

    async def close(self) -> None:
        """Close all connections; safe to call twice."""
        await self._caller.close()

    async def _infer(self, target: Target, clock: StageClock, hidden: list[str]) -> Outcome:
        path = self._path
        if MODEL in path:
            path = path.replace(MODEL, quote(substitute(self._model, target), safe=""))
        if not self._inputs:
            raise MisconfiguredError("`inputs` of this check must say which tensors to send")
        answer = await self._caller.post(target, clock, path, {"inputs": self._inputs, **self._body}, hidden)
        document, version = answer.document, answer.version
        fault = wrong(document)
        if fault is not None:
            raise self._caller.failed(clock, *fault)
        for condition in self._conditions:
            why = condition.unmet(document, target)
            if why is not None:
                raise self._caller.failed(clock, "wrong answer", why, layer=Layer.CORRECTNESS)
        readings = {"infer_s": clock.elapsed_s}
        if self._slow_s is not None and clock.elapsed_s > self._slow_s:
            reason = f"slower than {self._slow_s:g} s"
            return result(Status.SLOW, self.layer, clock, reason, version=version, readings=readings)
        return result(Status.PASS, self.layer, clock, version=version, readings=readings)


def inputs_of(value: Any) -> list[Any]:
    """The tensors that `inputs` means. Raises `SettingError`."""
    if value is None:
        return []
    items = value if isinstance(value, (list, tuple)) else [value]
    for item in items:
        if not isinstance(item, Mapping) or not {"name", "shape", "datatype", "data"} <= set(item) <= _TENSOR:
            raise SettingError("inputs: write a list of {name: X, shape: [1, 4], datatype: FP32, data: [...]}")
    return list(items)


def wrong(document: Any) -> tuple[str, str] | None:
    """Reason and detail of an answer that is no inference."""
    outputs = document.get("outputs") if isinstance(document, dict) else None
    if not isinstance(outputs, list) or not outputs:
        return "answer has no outputs", repr(document)[:100]
    for output in outputs:
        shape = output.get("shape") if isinstance(output, dict) else None
        if not isinstance(shape, list) or not all(isinstance(size, int) and size >= 0 for size in shape):
            return "output without a shape", repr(output)[:100]
        if "data" not in output:
            continue  # in binary behind the JSON, or in shared memory: only asked for by `body`
        found = list(_flat(output["data"]))
        if len(found) != math.prod(shape):
            return "output is not as long as its shape says", f"{output.get('name')}: {len(found)} for {shape}"
        if any(value is None or (isinstance(value, float) and not math.isfinite(value)) for value in found):
            return "output has values that are no numbers", f"{output.get('name')}"
    return None


def _flat(data: Any) -> Iterator[Any]:
    """The values of nested lists, in no particular order, however deep they are nested."""
    rest = [data]
    while rest:
        item = rest.pop()
        if isinstance(item, list):
            rest += item
        else:
            yield item


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> InferProbe:
    """See `probes.registry.make`."""
    return InferProbe(layer, settings, resolve)
