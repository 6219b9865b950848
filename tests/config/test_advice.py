"""Warnings: allowed, and worth a second thought."""

from __future__ import annotations

import pytest

from probes import catalog_paths
from steerd import config
from steerd.config import thrift
from tests.support.configs import GOOD, parse

EXTRA = "  probe-y: {zone: far}\n  probe-z: {zone: farther}\n"
ENOUGH = GOOD.replace("  probe-x: {zone: outside}\n", "  probe-x: {zone: outside}\n" + EXTRA)


def told(text: str) -> str:
    return "\n".join(config.warnings(parse(text)))


def test_a_region_without_which_nothing_could_be_decided() -> None:
    lines = [w for w in config.warnings(parse(GOOD)) if "fell silent" in w]
    consequence = "steerd could not tell a dead region from a cut, and would drain nothing; add agents outside eu"
    assert lines == [f"if region eu fell silent, 2 of 3 voices would be left: {consequence}"]
    assert "fell silent" not in told(ENOUGH)


def test_two_regions_and_no_outside_vantage() -> None:
    text = GOOD.replace("us: {zones: [us-a]}", "us: {zones: [us-a, us-b, us-c]}").replace("zone: outside", "zone: us-b")
    text = text.replace("agents:\n", "agents:\n  probe-w: {zone: us-c}\n")
    assert "if region eu fell silent, 1 of 2 vantage regions would be left" in told(text)


@pytest.mark.parametrize(
    ("old", "new", "needle"),
    [
        ("https://steerd.example.net:7443", "http://steerd.example.net:7443", "reached by plain HTTP"),
        ("ramp: {", "listen: {host: 0.0.0.0, insecure: true}\nramp: {", "`insecure: true`"),
        ("ramp: {", "listen: {host: 0.0.0.0, tls: {cert: c, key: k}}\nramp: {", "no `token` for agents probe-a"),
        ("liveness: {interval: 5s", "liveness: {api_key: {env: K}, interval: 5s", "over plain HTTP, to chat-a"),
        ("probe-b: {zone: eu-b}", "probe-b: {zone: eu-bb}", "or did you mean eu-b?"),
        ("store: {kind: sqlite, path: /tmp/steerd.db}", "store: {kind: memory}", "forgets every decision"),
        ("ttl: 30s", "ttl: 10m", "may be cached for 10m, longer than the RTO of 1m"),
        ("    demand: 100", "    fallback: elsewhere\n    demand: 100", "falls back on 'elsewhere'"),
        ("us: {dsn: {env: US_DSN}}", "", "endpoints in us, where dependency vectors has no instance"),
        ("prefer: {eu: 60%, us: 40%}", "prefer: {eu: 90%, us: 10%}", "cannot give us 10%"),
        ("prefer: {eu: 60%, us: 40%}", "prefer: {eu: 20%, us: 80%}", "cannot give eu 20%"),
        (
            "mode: active-active, prefer: {eu: 60%, us: 40%}",
            "mode: active-passive, order: [eu, us], trickle: 1%",
            "dns/chat.example.net knows members and no weights, so it cannot give us 1%",
        ),
        ("ramp: {", 'alerts: [{webhook: "https://hooks.internal/x"}]\nramp: {', "alerts are not sent anywhere yet"),
        (
            "interval: 30s}",
            "interval: 30s, budget: {tokens_per_day: 9}}",
            "the budget of user_path pays for about 0% of the looks",
        ),
    ],
)
def test_worth_a_thought(old: str, new: str, needle: str) -> None:
    text = ENOUGH.replace("depends_on: [embedder]", "depends_on: [embedder, vectors]")
    assert needle not in told(text)
    assert text.count(old) == 1
    assert needle in told(text.replace(old, new))


def test_a_service_without_routes_is_only_watched() -> None:
    assert "nothing is steered" in told(GOOD.partition("    routes:")[0])


def test_long_questions_are_reckoned_with_as_probes_ask_them() -> None:
    assert (thrift.LONG_EVERY, thrift.LONG_WORDS) == (catalog_paths.LONG_EVERY, catalog_paths.LONG_WORDS)
