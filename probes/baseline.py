"""What is usual for one endpoint: the latencies of its own good looks. No I/O.

Only looks that passed count, so the baseline stands still while the endpoint is not healthy.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Baseline"]

_KEPT = 200
_ENOUGH = 20
"""Looks before the baseline says anything."""

_TTFT_OBJECTIVES = 10.0
_TTFT_BASELINES = 20.0
_TTFT_MOST_S = 30.0
_TTFT_SLOW_BASELINES = 5.0
_TTFT_SLOW_LEAST_S = 0.5
_INTER_TOKEN_BASELINES = 5.0
_INTER_TOKEN_LEAST_S = 0.05


class Baseline:
    """Times to first token and between tokens, seconds, of the last good looks."""

    def __init__(self) -> None:
        self._ttft_s: deque[float] = deque(maxlen=_KEPT)
        self._inter_token_s: deque[float] = deque(maxlen=_KEPT)

    def well(self, ttft_s: float | None, inter_token_s: float | None) -> None:
        """A look passed."""
        if ttft_s is not None:
            self._ttft_s.append(ttft_s)
        if inter_token_s is not None:
            self._inter_token_s.append(inter_token_s)

    def ttft_limit_s(self, objective_s: float | None) -> float:
        """Over this a look fails: max(10 x the objective, 20 x the baseline's p99), at most 30 s; 30 s without an objective."""
        if objective_s is None:
            return _TTFT_MOST_S
        usual_s = _p99(self._ttft_s)
        return min(_TTFT_MOST_S, max(_TTFT_OBJECTIVES * objective_s, _TTFT_BASELINES * (usual_s or 0.0)))

    @property
    def ttft_slow_s(self) -> float | None:
        """Over this the first token comes far later than usual, where no objective says what is late: 5 x the baseline's p99 (of a
        usual time tenfold is over that), half a second at least; None before it is known.
        """
        usual_s = _p99(self._ttft_s)
        return None if usual_s is None else max(_TTFT_SLOW_LEAST_S, _TTFT_SLOW_BASELINES * usual_s)

    @property
    def inter_token_limit_s(self) -> float | None:
        """Over this tokens come far slower than usual: 5 x the baseline's p99, 50 ms at least; None before it is known."""
        usual_s = _p99(self._inter_token_s)
        return None if usual_s is None else max(_INTER_TOKEN_LEAST_S, _INTER_TOKEN_BASELINES * usual_s)


def _p99(values: deque[float]) -> float | None:
    if len(values) < _ENOUGH:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
