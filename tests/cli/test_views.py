"""How answers look: JSON in, text out, held by golden files that are read as a diff."""

from __future__ import annotations

import json
import os
import time
import unicodedata
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steerd.cli.client import parsed
from steerd.cli.views import explain, history, moves, plan, status
from steerd.cli.views.paint import plain

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.stem for path in GOLDEN.glob("*.json"))
VIEWS = {
    "status": status.render,
    "explain": explain.render,
    "plan": plan.render,
    "history": lambda found: history.render(found["events"]),
    "moves": moves.render,
}


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    """Times are shown in the reader's own zone: here in UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def answer(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_golden(name):
    text = plain(VIEWS[name.partition("-")[0]](answer(name)))
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("STEERD_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()
    assert max(len(line) for line in text.splitlines()) <= 100


def test_a_plan_without_a_change_keeps_its_indent():
    targets = {f"chat-eu-west-1{zone}-{n}": 100 for zone in "abc" for n in range(5)}
    route = {"provider": "dns", "name": "chat.test", "current": targets, "planned": targets, "changes": []}
    lines = plain(VIEWS["plan"]({"services": {"chat": {"routes": [route]}}})).splitlines()
    assert len(lines) > 2
    assert all(line.startswith("  ") for line in lines[1:])


def test_there_is_no_golden_text_without_its_answer():
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(CASES)


def test_what_is_wrong_is_named():
    assert status.wrongs(answer("status-well")) == []
    assert status.wrongs(answer("status-zone-drained")) == [
        "1 endpoint of chat is not healthy",
        "1 route of chat not in sync",
        "eu-west-1a is drained",
    ]
    assert status.wrongs(answer("status-frozen")) == ["frozen by an operator"]
    assert status.wrongs(answer("status-no-leader")) == [
        "nobody leads",
        "2 agents not voting",
        "config-refused",
        "store",
        "provider r53",
    ]
    assert status.wrongs(answer("status-unknown")) == [
        "chat is unknown",
        "1 route of chat not in sync",
        "4 agents not voting",
    ]


def test_an_operators_drain_and_a_new_endpoint_are_intended():
    told = answer("status-well")
    drain = answer("status-zone-drained")["drains"][0]
    told["drains"] = [drain | {"by": "ann", "cause": "operator"}, drain | {"cause": "new"}]
    assert status.wrongs(told) == []


def test_an_alert_alone_is_not_well():
    told = answer("status-well") | {"alerts": [{"kind": "drift", "text": "x"}]}
    assert status.wrongs(told) == ["1 alert"]


def test_every_endpoint_on_request():
    told = answer("status-large")
    few, all_of_them = (plain(status.render(told, everything=e)) for e in (False, True))
    assert few.count("chat-0") == 2
    assert all_of_them.count("chat-0") == 60
    assert few.index("chat-0012") < few.index("and 58 more (--all)")


def test_markup_in_a_reason_is_text():
    told = answer("status-zone-drained")
    told["services"]["chat"]["endpoints"]["chat-euw1a-1"]["reason"] = "[bold]x[/bold] [/]"
    assert "[bold]x[/bold] [/]" in plain(status.render(told))


@pytest.mark.parametrize("encode", [json.dumps, lambda v: msgspec.json.encode(v).decode()])
@given(st.text())
def test_control_characters_of_a_reason_do_not_reach_the_terminal(encode, text):
    shown = parsed(encode({"reason": text}).encode())["reason"]
    assert not [c for c in shown if unicodedata.category(c) == "Cc" and c not in "\t\n\r"]
    assert len(shown) == len(text)
    assert all(a == b or unicodedata.category(b) == "Cc" for a, b in zip(shown, text, strict=True))


def test_a_narrow_terminal_loses_nothing():
    text = plain(status.render(answer("status-zone-drained")), width=60)
    assert max(len(line) for line in text.splitlines()) <= 60
    assert "explained" in text


def test_a_provider_that_does_not_answer_or_asks_for_quiet_is_told_with_what_steerd_does():
    told = answer("status-well")
    well = {"state": "open", "circuit": "closed", "unanswered": 0, "again_in_s": 0.0, "last_error": "", "text": ""}
    mute = well | {"circuit": "open", "unanswered": 6, "again_in_s": 9.5, "last_error": "no answer in time"}
    account = {"calls_per_s": 2.5, "free": 5, "free_routine": 3, "waiting": 0, "paused_s": 0.0}
    told["providers"] = {"a": well | {"account": account}, "b": mute, "c": mute | {"circuit": "half-open"}}
    told["providers"]["d"] = well | {"account": account | {"paused_s": 12.0}}
    assert status.wrongs(told) == ["provider b", "provider c", "provider d"]
    text = " ".join(plain(status.render(told)).split())
    assert "the last 6 calls got no answer (no answer in time); asked again in 9.5 s, writes are tried at once" in text
    assert "being asked again now" in text
    assert "asked us to stay away: calls go on in 12 s" in text
