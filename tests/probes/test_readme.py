"""The examples of probes/README.md are true: the YAML is a config's, the Python is a plug-in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from probes import Outcome, Probe, Status, Target
from steerd.model.fleet import Check, Fleet
from tests.support.configs import GOOD, parse

TEXT = (Path(__file__).parents[2] / "probes/README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def with_check(name: str, check: Any) -> Fleet:
    document = yaml.safe_load(GOOD)
    document["services"]["chat"]["checks"][name] = check
    return parse(yaml.safe_dump(document))


def found(fleet: Fleet, name: str) -> Check:
    return next(c for c in fleet.services[0].checks if c.name == name)


def test_the_stack_of_ones_own() -> None:
    (text,) = [block for block in blocks("yaml") if block.startswith("stacks:")]
    document = yaml.safe_load(GOOD)
    example = yaml.safe_load(text.partition("services:")[0])
    document["stacks"] = example["stacks"]
    document["services"]["chat"]["stack"] = "mine"
    document["services"]["chat"]["checks"] = {}
    fleet = parse(yaml.safe_dump(document))
    names = [c.name for c in fleet.services[0].checks if not c.name.startswith("dependency:")]
    assert names == ["liveness", "readiness", "progress", "queue"]
    assert found(fleet, "liveness").settings["path"] == "/engine/health"
    assert found(fleet, "progress").settings["stall"] == 120.0
    assert found(fleet, "progress").settings["waiting"] == ("vllm:num_requests_waiting",)  # stays


def test_the_script_and_the_command() -> None:
    script, command = (yaml.safe_load(block) for block in blocks("yaml")[1:])
    steps = found(with_check("user_path", script["user_path"] | {"interval": "30s"}), "user_path").settings["steps"]
    assert [step["name"] for step in steps] == ["login", "ask"]
    disk = found(with_check("disk", command["disk"]), "disk")
    assert (disk.kind, disk.settings["command"][0]) == ("exec", "/usr/local/bin/check-disk")


async def test_the_plug_in() -> None:
    (source,) = blocks("python")
    names: dict[str, Any] = {}
    exec(source, names)
    probe = names["build"]("readiness", {"path": "/"}, str)
    assert isinstance(probe, Probe)
    outcome = await probe.look(Target("e1", "http://e1"), 0.0)
    assert isinstance(outcome, Outcome)
    assert outcome.status is Status.PASS
