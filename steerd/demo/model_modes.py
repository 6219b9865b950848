"""The ways in which the demo's model server can be told to fail (the failure modes of probes.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Behaviour", "Mode"]


class Mode(StrEnum):
    """What the server does. The options in brackets are keys beside `mode` in the control request."""

    HEALTHY = "healthy"
    CRASH = "crash"  # exits at once, without a farewell
    HANG = "hang"  # accepts connections and never answers anything
    STALL = "stall"  # /health and /v1/models answer; the engine stands still with work queued
    BUSY = "busy"  # /health takes [delay_s: 30]; the engine's counters move
    SLOW = "slow"  # the engine takes [factor: 10] times as long
    GARBAGE = "garbage"  # answers are wrong
    GIBBERISH = "gibberish"  # answers are one character repeated
    EMPTY = "empty"  # answers have no text
    CUT = "cut"  # streams break off half way
    ERROR_FRAME = "error-frame"  # an error inside a 200 stream
    NO_FINISH = "no-finish"  # streams end in order, without finish_reason
    REFUSE = "refuse"  # 429 for generations
    ERRORS = "errors"  # [status: 500] for [rate: 1.0] of all requests, evenly spread
    UNAUTHORIZED = "unauthorized"  # 401 for everything that takes a key
    WRONG_MODEL = "wrong-model"  # serves another model than it should
    UNLOADED = "unloaded"  # the front is well; the model's process is gone, so generations are refused with 400
    LOADING = "loading"  # 503 until the weights are there
    LONG = "long"  # answers to prompts over [words: 300] are one character repeated, the others are right
    CPU = "cpu"  # fell back to the CPU: the engine takes [factor: 10] times as long, and says where it runs
    STALE = "stale"  # metrics are those of the moment the mode began, and say so
    SCRAPE_HANG = "scrape-hang"  # metrics never answer


@dataclass(frozen=True, slots=True)
class Behaviour:
    """A mode and its options."""

    mode: Mode = Mode.HEALTHY
    factor: float = 10.0
    delay_s: float = 30.0
    rate: float = 1.0
    status: int = 500
    words: int = 300

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Behaviour:
        """Reads a control request. Raises ValueError naming what is wrong."""
        unknown = set(asked) - {"mode", "factor", "delay_s", "rate", "status", "version", "words"}
        if unknown:
            raise ValueError(f"unknown key {min(unknown)!r}")
        try:
            mode = Mode(asked.get("mode", Mode.HEALTHY))
        except ValueError:
            raise ValueError(f"mode: write one of {', '.join(Mode)}") from None
        made = cls(
            mode,
            float(asked.get("factor", 10.0)),
            float(asked.get("delay_s", 30.0)),
            float(asked.get("rate", 1.0)),
            int(asked.get("status", 500)),
            int(asked.get("words", 300)),
        )
        if made.factor <= 0 or made.delay_s < 0 or not 0 <= made.rate <= 1 or not 400 <= made.status < 600:
            raise ValueError("factor above 0, delay_s from 0, rate 0..1, status 400..599")
        return made
