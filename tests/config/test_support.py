"""What this build lacks is named by the daemon that needs it, and by no other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steerd.config import kinds, support
from steerd.config.support import unbuilt
from tests.support.configs import GOOD, parse

ROUTING = "    routing: {mode: active-active, prefer: {eu: 60%, us: 40%}}"
BUILT = GOOD.replace("stateful: true, ", "")


def test_nothing_is_missing_for_what_is_built() -> None:
    fleet = parse(BUILT)
    assert unbuilt(fleet, "agent") == []
    assert unbuilt(fleet, "coordinator") == []


@pytest.mark.parametrize(
    ("old", "new", "role", "needle"),
    [
        (
            "store: {kind: sqlite, path: /tmp/steerd.db}",
            "store: {kind: etcd, endpoints: ['https://e:2379']}",
            "coordinator",
            "store: store 'etcd'",
        ),
        (
            ROUTING,
            ROUTING + "\n    activate: {us: [{scale: {kubernetes: {replicas: 8}}, timeout: 1m}]}",
            "coordinator",
            "services.chat.activate.us: ",
        ),
        (
            ROUTING,
            ROUTING + "\n    fallback: elsewhere",
            "coordinator",
            "services.chat.fallback: there is no such service",
        ),
    ],
)
def test_named_by_who_needs_it(old: str, new: str, role: str, needle: str) -> None:
    assert BUILT.count(old) == 1
    fleet = parse(BUILT.replace(old, new))
    assert any(line.startswith(needle) for line in unbuilt(fleet, role))  # type: ignore[arg-type]  # parametrized
    other = "agent" if role == "coordinator" else "coordinator"
    assert unbuilt(fleet, other) == []  # type: ignore[arg-type]  # the other of two


def test_a_provider_not_written_yet_is_named_where_a_route_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("rfc2136", "route53"):
        monkeypatch.setitem(kinds.PROVIDER_KINDS, kind, replace(kinds.PROVIDER_KINDS[kind], built=False))
    text = BUILT.replace("providers:\n", "providers:\n  spare: {kind: route53, hosted_zone: Z1}\n")
    assert [line.partition(": ")[0] for line in unbuilt(parse(text), "coordinator")] == ["providers.dns"]
    assert unbuilt(parse(text), "agent") == []


def test_a_dependency_without_its_client_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    text = BUILT.replace("depends_on: [embedder]", "depends_on: [vectors]")
    assert unbuilt(parse(text), "agent") == []
    real = kinds.PROBE_KINDS["postgres"]
    monkeypatch.setitem(kinds.PROBE_KINDS, "postgres", replace(real, modules=("no_such_module_here",)))
    wanted = "dependencies.vectors: dependency kind 'postgres' needs a client library: install the extra:"
    assert unbuilt(parse(text), "agent") == [f"{wanted} pip install '.[postgres]'"]
    assert unbuilt(parse(text), "coordinator") == []


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = kinds.PROVIDER_KINDS["rfc2136"]
    monkeypatch.setitem(kinds.PROVIDER_KINDS, "rfc2136", replace(real, extra="aws", modules=("no_such_module_here",)))
    lines = unbuilt(parse(BUILT), "coordinator")
    assert lines == [
        "providers.dns: provider kind 'rfc2136' needs a client library: install the extra: pip install '.[aws]'"
    ]
    assert support.missing_modules(replace(real, modules=("dns", "no.such.parent"))) == ["no.such.parent"]
