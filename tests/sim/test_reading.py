"""Scenario files: what is wrong is told with its line and column; what is right is read as meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from steerd.config import ConfigError
from steerd.model.fleet import Dependency
from steerd.sim.reading import load_scenario, parse_faults
from tests.sim.locate import OWN
from tests.support.fleets import make_fleet

HEAD = "scenario: x\nconfig: {fleet}\nduration: 5m\n"


def load(tmp_path: Path, body: str) -> object:
    file = tmp_path / "x.yaml"
    file.write_text(HEAD.format(fleet=OWN / "fleets" / "one-each.yaml") + body)
    return load_scenario(file)


@pytest.mark.parametrize(
    ("body", "place", "words"),
    [
        ("faults: [{at: 1s, endpoint: eu-a-1, kind: crsh}]", "4:43", "did you mean 'crash'"),
        ("faults: [{at: 1s, endpoint: eu-a-9, kind: crash}]", "4:29", "is unknown"),
        ("faults: [{at: 1s, zone: eu, kind: crash}]", "4:25", "is a region"),
        ("faults: [{at: 1s, kind: crash}]", "4:10", "hits nothing"),
        ("faults: [{at: 1s, endpoint: eu-a-1, zone: eu-a, kind: crash}]", "4:10", "more than one thing"),
        ("faults: [{at: 1s, endpoint: eu-a-1, kind: errors}]", "4:10", "needs `rate`"),
        ("faults: [{at: 1s, endpoint: eu-a-1, kind: crash, rate: 1%}]", "4:50", "takes no 'rate'"),
        ("faults: [{at: 9s, until: 3s, endpoint: eu-a-1, kind: crash}]", "4:26", "end before it begins"),
        ("faults: [{at: 1s, until: 9s, operator: restore, name: eu-a}]", "4:19", "happens once"),
        ("faults: [{at: 1s, until: 9s, for: 3s, operator: drain, name: eu-a}]", "4:30", "say the same"),
        ("faults: [{at: 1s, link: {from: nowhere, to: any}, kind: partition}]", "4:32", "nothing is called"),
        ("faults: [{at: 1s, provider: dns, kind: external-edit, record: nope, set: 0}]", "4:63", "serves no 'nope'"),
        ("faults: [{at: 5m, endpoint: eu-a-1, kind: crash}]", "4:15", "its `duration` is 300 s"),
        ("faults: [{at: 1s, coordinator: lead, kind: pause}]", "4:32", "did you mean 'leader'"),
        ("faults: [{at: 1s, dependency: state@mars, kind: crash}]", "4:31", "no dependency is called 'state@mars'"),
        ("faults: [{at: 1s, dependency: 'state@', kind: crash}]", "4:31", "is not a name"),
        ("faults: [{at: 1s, config: reload, file: nope.yaml}]", "4:41", "cannot read"),
        ("faults: [{att: 1s}]", "4:10", "did you mean 'at'"),
        ("expect: [{zone: eu-a, share: much, by: 1s}]", "4:30", "comparison"),
        ("expect: [{zone: eu-a, share: 0}]", "4:10", "needs `by` or `during`"),
        ("expect: [{writes: 0, by: 1m}]", "4:22", "writes takes no 'by'"),
        ("expect: [{transitions: 0, by: 1m}]", "4:27", "transitions takes no 'by'; it takes of"),
        ("expect: [{no_alert: global, by: 1m}]", "4:29", "no_alert takes no 'by'"),
        ("expect: [{alert: global, by: 1m, of: chat}]", "4:34", "alert takes no 'of'"),
        ("expect: [{alert: global, during: [1m, 2m]}]", "4:26", "alert takes no 'during'"),
        ("expect: [{never_drained: [eu-a], by: 1m}]", "4:34", "never_drained takes no 'by'"),
        ("expect: [{zone: eu-a, health: healthy, by: 1m, label: deploy}]", "4:48", "health takes no 'label'"),
        ("expect: [{zone: eu-a, endpoint: eu-b-1, health: down, by: 1m}]", "4:10", "health needs one of endpoint"),
        ("expect: [{health: down, by: 1m}]", "4:10", "health needs one of endpoint"),
        ("expect: [{state: voting, by: 1m}]", "4:10", "state needs one of agent"),
        ("expect: [{zone: eu-a, share: 0, by: 1m, during: [1m, 2m]}]", "4:10", "exclude each other"),
        ("expect: [{zone: eu-a, share: 0, by: 3h}]", "4:37", "its `duration` is 300 s"),
        ("expect: [{zone: eu-a, share: 0, during: [1m, 90m]}]", "4:41", "its `duration` is 300 s"),
        ("expect: [{zone: eu-a, share: 0, during: [3m, 1m]}]", "4:41", "end before it begins"),
        ("expect: [{alert: capcity-short}]", "4:18", "did you mean 'capacity-short'"),
        ("expect: [{no_alert: overload-acepted}]", "4:21", "did you mean 'overload-accepted'"),
        ("expect: [{transitions: 0, of: probe-eu-a}]", "4:31", "is a agent"),
        ("expect: [{by: 1s}]", "4:10", "needs one of"),
        ("expect: [{zone: eu-a, health: ill, by: 1s}]", "4:31", "none of the choices"),
    ],
)
def test_wrong(tmp_path: Path, body: str, place: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, body)
    text = str(raised.value)
    assert f"x.yaml:{place}:" in text
    assert words in text


def test_every_problem_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, "faults: [{at: 1s, zone: q, kind: crash}, {at: 1s, agent: z, kind: pause}]\nexpect: [{by: 1s}]")
    assert len(raised.value.problems) == 3


def test_a_problem_at_the_top_hides_none_below(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, "colour: red\nfaults: [{at: 1s, zone: q, kind: crash}]\nexpect: [{by: 1s}]")
    assert [p.line for p in raised.value.problems] == [4, 5, 6]


def test_a_missing_config_is_told_where_it_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(HEAD.format(fleet="nowhere.yaml") + "faults: [{att: 1s}]\nexpect: [{zone: eu-a, helth: down}]\n")
    with pytest.raises(ConfigError) as raised:
        load_scenario(file)
    assert [(p.line, p.column) for p in raised.value.problems] == [(2, 9), (4, 10), (4, 11), (5, 23)]
    assert "cannot read" in raised.value.problems[0].text


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n"])
def test_no_scenario_at_all(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="scenario") as raised:
        load_scenario(file)
    assert "fleet" not in str(raised.value)


def test_an_instance_of_a_dependency() -> None:
    fleet = make_fleet()
    fleet = replace(fleet, dependencies=(Dependency("state", "postgres", instances={"eu": {}, "us": {}}),))
    (fault,) = parse_faults(["at=60s dependency=state@us kind=crash"], fleet, 600.0)
    assert fault.target == "state@us"


def test_faults_from_the_command_line() -> None:
    fleet = load_scenario(OWN / "one-each-dies.yaml").fleet
    (fault,) = parse_faults(["at=60s until=2m link.from=agents link.to=eu-a-1 kind=loss rate=50%"], fleet, 600.0)
    assert (fault.at, fault.until, fault.on, fault.kind) == (60.0, 120.0, "link", "loss")
    assert dict(fault.args) == {"rate": 0.5, "from": "agents", "to": "eu-a-1"}
    with pytest.raises(ConfigError, match="is unknown"):
        parse_faults(["at=60s zone=nowhere kind=crash"], fleet, 600.0)
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        parse_faults(["at"], fleet, 600.0)
    with pytest.raises(ConfigError, match="a quote that does not end"):
        parse_faults(["at=60s operator=freeze reason='two words"], fleet, 600.0)
    for mark in ("'", '"'):
        (fault,) = parse_faults([f"at=60s operator=freeze reason={mark}two: words{mark}"], fleet, 600.0)
        assert fault.args["reason"] == "two: words"
