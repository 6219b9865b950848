"""What others would have done on the same looks, by their published rules; false removals are counted, every endpoint is well.

    Envoy        active health check, unhealthy_threshold 3, healthy_threshold 2 (the manual's examples), one prober
    HAProxy      fall 3, rise 2 (defaults), one prober
    gdnsd        down_thresh 10 failures without ok_thresh 10 passes in a row between them, up_thresh 20 (defaults), one prober
    PowerDNS     ifurlup, one failure (minimumFailures 1, the default), one prober
    Route 53     failure threshold 3 (default) per checker, healthy while over 18% of the checkers say so; all agents are checkers

All look every 5 s, as steerd does; the single prober is the first agent. None of these rules looks again at once or waits, so the
outcomes of the regular looks are all they need. Panic thresholds and failopen rules of theirs, which bound the harm of a removal,
are not modelled: a removal is a removal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["PEERS", "quorum_removals", "removals"]

PEERS = ("Envoy", "HAProxy", "gdnsd", "PowerDNS", "Route 53")
_HEALTHY_OVER = 0.18


def removals(looks: bytes) -> dict[str, int]:
    """`looks` of one prober in order, 1 is a failure. Peer with one prober -> how often it took the endpoint out."""
    return {
        "Envoy": sum(1 for _ in bad_spells(looks, fall=3, rise=2)),
        "HAProxy": sum(1 for _ in bad_spells(looks, fall=3, rise=2)),
        "gdnsd": _gdnsd(looks, down=10, ok=10, up=20),
        "PowerDNS": sum(1 for _ in bad_spells(looks, fall=1, rise=1)),
    }


def bad_spells(looks: bytes, *, fall: int, rise: int) -> Iterator[tuple[int, int]]:
    """(index of the look that made it bad, index of the one that made it good again or the end)."""
    at = 0
    while (begin := looks.find(b"\x01" * fall, at)) >= 0:
        begin += fall - 1
        end = looks.find(b"\x00" * rise, begin)
        at = end + rise - 1 if end >= 0 else len(looks)
        yield begin, at


def _gdnsd(looks: bytes, *, down: int, ok: int, up: int) -> int:
    count = failures = at = 0
    passes = b"\x00" * ok
    while (at := looks.find(b"\x01", at)) >= 0:
        failures = 0 if looks[max(0, at - ok) : at] == passes else failures
        failures += 1
        at += 1
        if failures == down:
            count, failures = count + 1, 0
            back = looks.find(b"\x00" * up, at)
            if back < 0:
                break
            at = back + up
    return count


def quorum_removals(checkers: Iterable[tuple[bytes, float, float]]) -> int:
    """Route 53's rule over (looks, time of the first, seconds between them) of every checker of one endpoint."""
    edges: list[tuple[float, int]] = []
    count = 0
    for looks, first_s, period_s in checkers:
        count += 1
        for begin, end in bad_spells(looks, fall=3, rise=3):
            edges += [(first_s + begin * period_s, -1), (first_s + end * period_s, 1)]
    healthy, out, removed = count, False, 0
    for _, change in sorted(edges):
        healthy += change
        well = healthy > _HEALTHY_OVER * count
        removed += not well and not out
        out = not well
    return removed
