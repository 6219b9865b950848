"""`dcgm`: GPU faults from dcgm-exporter's metrics: XID errors, and GPUs that are busy without drawing power (a hang).

The XID gauge keeps the last error for as long as the exporter lives, so only a change counts; the exporter's own count of
XIDs within a window (DCGM_EXP_XID_ERRORS_COUNT) counts as it is. A scrape that fails is unknown, not idle: ERROR.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from probes.clock import StageClock
from probes.deps.base import DependencyProbe
from probes.deps.web import Web
from probes.errors import SettingError
from probes.guard import outcome_of
from probes.headers import request_headers
from probes.http_client import Request, join
from probes.http_status import status_fault
from probes.metrics_text import MetricsReader, Series, read_text
from probes.outcome import Layer, Outcome, Status
from probes.settings import Resolve, Text, headers_of, number, strings, text, tls_of
from probes.target import Target

__all__ = ["DcgmProbe", "build"]

_XID: Final = "DCGM_FI_DEV_XID_ERRORS"
_XID_COUNT: Final = "DCGM_EXP_XID_ERRORS_COUNT"
_BUSY: Final = "DCGM_FI_DEV_GPU_UTIL"
_POWER: Final = "DCGM_FI_DEV_POWER_USAGE"
_LIMIT: Final = "DCGM_FI_DEV_POWER_MGMT_LIMIT"
_NAMES: Final = frozenset({_XID, _XID_COUNT, _BUSY, _POWER, _LIMIT})

_GPU_LABELS: Final = ("gpu", "device", "UUID")
_Page = Mapping[str, list[Series]]

_BUSY_PERCENT: Final = 95.0
_LOW_POWER: Final = 0.3
"""Share of the power limit: GPUs that spin in a collective wait at 15-25%, those that decode draw 40% and more."""

_MEANING: Final = {48: "double-bit memory error", 79: "GPU has fallen off the bus"}


@dataclass(slots=True)
class _Gpu:
    """What is remembered of a GPU; times in seconds of a steady clock."""

    xid: int | None = None
    faulty_since: float | None = None
    hung_since: float | None = None


class DcgmProbe(DependencyProbe):
    """See the module's text. Readings: `gpus`, `gpu_busy_ratio` (mean), `gpu_power_w` (sum)."""

    instrument: ClassVar[str | None] = "the exporter"

    def __init__(self, layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> None:
        super().__init__(layer, settings, resolve)
        self._url, self._path = text(settings, "url"), text(settings, "path", "/metrics") or "/metrics"
        self._xids = _xids(settings.get("xids", (48, 79)))
        self._only = frozenset(strings(settings, "gpus"))
        self._hold_s = number(settings, "hold", 3600.0) or 3600.0
        self._stall_s = number(settings, "stall", 60.0) or 60.0
        self._low_power_w = number(settings, "low_power")
        self._headers = headers_of(settings)
        key = settings.get("api_key")
        self._key = None if key is None else Text(key)
        self._web = Web(tls_of(settings))
        self._gpus: dict[tuple[str, str], _Gpu] = {}

    async def close(self) -> None:
        """Safe to call twice."""
        await self._web.close()

    def forget(self, target: str) -> None:
        """See `probes.probe.Probe`."""
        super().forget(target)
        self._gpus = {key: gpu for key, gpu in self._gpus.items() if key[0] != target}

    async def _ask(self, target: Target, clock: StageClock, hidden: list[str]) -> Outcome:
        headers = request_headers(self.layer, self._headers, self._key, self._resolve, hidden)
        request = Request("GET", join(self._url or target.url, self._path), headers)
        answer = await self._web.ask(request, target, clock)
        if not answer.ok:
            fault = status_fault(answer.status, answer.body)
            if fault.status is Status.ERROR:
                return outcome_of(fault, self.layer, clock)
            return self._misconfigured(clock, f"the exporter cannot be asked: HTTP {answer.status}", fault.detail)
        if not answer.whole:
            return self._misconfigured(clock, "the exporter's page is too long", f"over {len(answer.body)} bytes")
        page = MetricsReader.of(_NAMES)
        await read_text(page, answer.body)
        if page.broken is not None:
            return self._misconfigured(clock, "the exporter's page cannot be read", page.broken)
        series = page.all(_NAMES)
        if not series:
            advice = "none of DCGM_FI_DEV_XID_ERRORS, DCGM_FI_DEV_GPU_UTIL is there: fix `path`, or the exporter's list"
            return self._misconfigured(clock, "the page has no metrics of DCGM", advice)
        return self._judge(target, clock, series)

    def _judge(self, target: Target, clock: StageClock, series: _Page) -> Outcome:
        now = time.monotonic()
        gpus = sorted({_gpu(one) for found in series.values() for one in found if self._counts(one)})
        if not gpus:
            return self._misconfigured(clock, "none of the GPUs in `gpus` is on the page")
        faults = [*self._counted(series), *self._changed(target, series, now)]
        hangs = list(self._hung(target, series, now))
        readings = self._readings(series, len(gpus))
        if faults:
            return self._failed(clock, faults[0][0], detail="; ".join(f[1] for f in faults), readings=readings)
        if hangs:
            reason = "a GPU is busy without drawing power: hung"
            return self._failed(clock, reason, detail="; ".join(hangs), readings=readings)
        old = [f"GPU {gpu}: XID {one.xid} since before the first look" for gpu, one in self._old(target)]
        return self._passed(clock, readings, detail="; ".join(old) or None)

    def _counts(self, one: Series) -> bool:
        return not self._only or any(one.label(name) in self._only for name in _GPU_LABELS)

    def _of(self, target: Target, one: Series) -> _Gpu:
        return self._gpus.setdefault((target.name, _gpu(one)), _Gpu())

    def _old(self, target: Target) -> Iterator[tuple[str, _Gpu]]:
        for (name, gpu), one in self._gpus.items():
            if name == target.name and one.xid in self._xids and one.faulty_since is None:
                yield gpu, one

    def _counted(self, series: _Page) -> Iterator[tuple[str, str]]:
        for one in series.get(_XID_COUNT, ()):
            code = one.label("xid") or ""
            if one.value > 0 and code.isdecimal() and int(code) in self._xids and self._counts(one):
                yield _words(int(code)), f"GPU {_gpu(one)}: {one.value:g} times within the exporter's window"

    def _changed(self, target: Target, series: _Page, now: float) -> Iterator[tuple[str, str]]:
        for one in series.get(_XID, ()):
            if not self._counts(one):
                continue
            gpu, code = self._of(target, one), int(one.value)
            if gpu.xid is not None and code != gpu.xid:
                gpu.faulty_since = now if code in self._xids else None
            gpu.xid = code
            if gpu.faulty_since is not None and now - gpu.faulty_since > self._hold_s:
                gpu.faulty_since = None
            if gpu.faulty_since is not None:
                yield _words(code), f"GPU {_gpu(one)}: {now - gpu.faulty_since:.0f} s ago"

    def _hung(self, target: Target, series: _Page, now: float) -> Iterator[str]:
        power = {_gpu(one): one.value for one in series.get(_POWER, ())}
        limits = {_gpu(one): one.value for one in series.get(_LIMIT, ())}
        for one in series.get(_BUSY, ()):
            name, busy = _gpu(one), one.value
            low_w = self._low_power_w or limits.get(name, 0.0) * _LOW_POWER
            if not self._counts(one) or name not in power or not low_w:
                continue
            gpu = self._of(target, one)
            if busy < _BUSY_PERCENT or power[name] >= low_w:
                gpu.hung_since = None
                continue
            if gpu.hung_since is None:
                gpu.hung_since = now
            if now - gpu.hung_since >= self._stall_s:
                yield f"GPU {name}: {busy:g}% busy at {power[name]:g} W for {now - gpu.hung_since:.0f} s"

    def _readings(self, series: _Page, gpus: int) -> dict[str, float]:
        busy = [one.value for one in series.get(_BUSY, ()) if self._counts(one)]
        power = [one.value for one in series.get(_POWER, ()) if self._counts(one)]
        found = {"gpus": float(gpus)}
        if busy:
            found["gpu_busy_ratio"] = sum(busy) / len(busy) / 100.0
        if power:
            found["gpu_power_w"] = sum(power)
        return found


def _gpu(one: Series) -> str:
    return next((found for name in _GPU_LABELS if (found := one.label(name))), "?")


def _words(code: int) -> str:
    meaning = _MEANING.get(code)
    return f"XID {code}" + (f": {meaning}" if meaning else "")


def _xids(value: Any) -> frozenset[int]:
    items = value if isinstance(value, (list, tuple)) else [value]
    found = set()
    for item in items:
        if isinstance(item, bool) or not str(item).isdecimal():
            raise SettingError(f"xids: {item!r} is no XID: write a list of numbers, such as [48, 79]")
        found.add(int(item))
    return frozenset(found)


def build(layer: Layer, settings: Mapping[str, Any], resolve: Resolve) -> DcgmProbe:
    """See `probes.registry.make`."""
    return DcgmProbe(layer, settings, resolve)
