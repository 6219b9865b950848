"""Which failure domain explains it: the table of rules, one case a line."""

from __future__ import annotations

import pytest

from steerd.core.localize import ZoneCount, localize


def counts(text: str) -> list[ZoneCount]:
    """ "eu:a=1/2 us:b=0/2": region, zone, bad of total."""
    found = []
    for word in text.split():
        region, rest = word.split(":")
        zone, fraction = rest.split("=")
        bad, total = map(int, fraction.split("/"))
        found.append(ZoneCount(zone, region, total, tuple(f"{zone}-{i}" for i in range(bad))))
    return found


@pytest.mark.parametrize(
    ("zones", "drained", "expected"),
    [
        ("eu:a=0/2 eu:b=0/2 us:c=0/2", "", "-"),
        ("eu:a=2/2 eu:b=0/2 us:c=0/2", "", "zone a"),
        ("eu:a=1/2 eu:b=0/2 us:c=0/2", "", "endpoint a-0"),
        ("eu:a=1/1 eu:b=0/1 us:c=0/1", "", "zone a"),
        ("eu:a=5/10 eu:b=0/10", "", "endpoint a-0 a-1 a-2 a-3 a-4"),
        ("eu:a=6/10 eu:b=0/10", "", "zone a"),
        ("eu:a=6/10 eu:b=2/10", "", "zone a endpoint b-0 b-1"),
        ("eu:a=6/10 eu:b=3/10", "", "endpoint a-0 a-1 a-2 a-3 a-4 a-5 b-0 b-1 b-2"),
        ("eu:a=2/2 eu:b=2/2 us:c=0/2 us:d=0/2", "", "region eu"),
        ("eu:a=2/2 us:c=0/2 us:d=0/2", "", "zone a"),
        ("eu:a=2/2 us:c=2/2", "", "everywhere"),
        ("eu:a=2/2 eu:b=2/2 us:c=2/2", "", "everywhere"),
        ("eu:a=2/2", "", "zone a"),
        ("eu:a=2/2 eu:b=2/2 eu:c=0/2", "", "endpoint a-0 a-1 b-0 b-1"),
        ("eu:a=2/2 eu:b=2/2 eu:c=0/2", "a", "zone a b"),
        ("eu:a=2/2 eu:b=2/2 eu:c=0/2 us:d=0/2 us:e=0/2 us:f=0/2", "", "zone a b"),
        ("eu:a=0/2 eu:b=0/0", "", "-"),
    ],
)
def test_rules(zones: str, drained: str, expected: str) -> None:
    found = localize(counts(zones), drained.split())
    words = []
    if found.everywhere:
        words.append("everywhere")
    else:
        for kind, names in (("region", found.regions), ("zone", found.zones), ("endpoint", found.endpoints)):
            if names:
                words.append(f"{kind} {' '.join(names)}")
    assert (" ".join(words) or "-") == expected


def test_a_global_diagnosis_stays_until_its_caller_lets_it_go() -> None:
    zones = counts("eu:a=2/2 us:c=0/2")
    assert localize(zones, (), was_everywhere=True).everywhere
    assert not localize(zones, ()).everywhere
