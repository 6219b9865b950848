"""The verbs that talk to a coordinator, against the real API."""

from __future__ import annotations

import json
import os
import pty
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from steerd.core.effects import Answer
from tests.cli.conftest import GOLDEN
from tests.support.wait import until_sync


def steerd(served, *args, **env):
    """The program itself, in a process of its own."""
    environment = {"PATH": os.environ["PATH"], "STEERD_SOCKET": served.socket, "LANG": "C.UTF-8"} | env
    return subprocess.run(
        [sys.executable, "-m", "steerd", *args],
        capture_output=True,
        text=True,
        timeout=30,
        env=environment,
        check=False,
    )


@pytest.mark.parametrize(
    ("told", "code"), [("well", 0), ("zone-drained", 1), ("frozen", 1), ("no-leader", 1), ("unknown", 1), ("large", 1)]
)
def test_status_and_its_exit_code(served, told, code):
    served.tell(told)
    done = steerd(served, "status")
    assert done.returncode == code
    assert done.stdout == (GOLDEN / f"status-{told}.txt").read_text()
    assert done.stderr == ""


def test_status_json_is_the_coordinators(served):
    told = served.tell("zone-drained")
    done = steerd(served, "status", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == told


def test_status_of_nobody(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "steerd", "status", "--socket", str(tmp_path / "none")],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no coordinator answers" in done.stderr
    assert done.stdout == ""


def on_a_terminal(served, *args, **env):
    """What the program prints when its output is a terminal of 100 columns."""
    master, slave = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "STEERD_SOCKET": served.socket, "LANG": "C.UTF-8", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "steerd", *args],
        stdout=slave, stdin=slave, stderr=slave, env=environment | {"COLUMNS": "100"} | env,
    )  # fmt: skip
    os.close(slave)
    data = b""
    try:
        while chunk := os.read(master, 65536):
            data += chunk
    except OSError:
        pass  # a terminal whose last writer has gone reads as an error
    finally:
        os.close(master)
    return process.wait(30), data.decode()


def test_colours_on_a_terminal_only_and_not_with_no_color(served):
    served.tell("zone-drained")
    code, text = on_a_terminal(served, "status")
    assert code == 1
    assert "\x1b[1;31m✗ down" in text
    _, text = on_a_terminal(served, "status", NO_COLOR="1")
    assert "\x1b[1;31m" not in text
    assert "31m" not in text
    assert "✗ down" in text


def test_json_is_indented_for_people(served):
    _, text = on_a_terminal(served, "plan", "--json")
    assert text.startswith('{\r\n  "services"')


@pytest.mark.parametrize("args", [("stacks",), ("stacks", "vllm"), ("probe", "--url", "nonsense"), ("explain", "z1")])
def test_no_line_in_a_pipe_ends_in_a_space(served, args):
    lines = served.run(*args).stdout.splitlines()
    assert lines
    assert [line for line in lines if line != line.rstrip()] == []


def test_a_terminal_that_knows_no_signs(served):
    served.tell("well")
    done = steerd(served, "status", LANG="C", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 0
    assert "all well" in done.stdout


def test_watch_shows_it_again_and_again(served):
    served.tell("well")
    process = subprocess.Popen(
        [sys.executable, "-m", "steerd", "status", "--watch", "--json", "--socket", served.socket],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert json.loads(process.stdout.readline())["frozen"] is None
        served.tell("frozen")
        assert any(json.loads(process.stdout.readline())["frozen"] for _ in range(5))
    finally:
        process.send_signal(2)
        assert process.wait(30) == 0, "Ctrl-C is how it ends"
        process.stdout.close()


def test_explain(served):
    result = served.run("explain", "z1")
    assert result.exit_code == 0
    assert "z1 is fine" in result.output
    assert json.loads(served.run("explain", "z1", "--json").output)["kind"] == "zone"
    result = served.run("explain", "nobody/else")
    assert result.exit_code == 2
    assert "Nothing in this fleet is called 'nobody/else'" in result.output


def test_plan_and_history(served):
    assert "chat" in served.run("plan").output
    assert served.run("history").output.count("\n") == 3
    assert "z1 restored" in served.run("history", "--limit", "1").output
    assert "z1 drained" not in served.run("history", "--limit", "1").output
    assert len(json.loads(served.run("history", "--json").output)["events"]) == 2
    assert "nothing happened" in served.run("history", "--since", "1h").output
    assert "z1 restored" in served.run("history", "--since", "1970-01-01T00:00:00+00:00").output


def test_the_loss_of_data_is_accepted_in_so_many_words(served):
    for args in (
        ("drain", "r1", "--reason", "lost", "--now", "--accept-data-loss"),
        ("drain", "r1", "--reason", "lost", "--force"),
        ("restore", "r1", "--accept-data-loss"),
        ("restore", "r1", "--force"),
    ):
        assert served.run(*args).exit_code == 0
    assert [c.accept_data_loss for c in served.coordinator.commands] == [True, False, True, False]


def test_commands(served):
    for args in (
        ("drain", "z1", "--reason", "kernel", "--for", "1h30m", "--now", "--force"),
        ("restore", "z1"),
        ("restore", "z1", "--now", "--force"),
        ("pin", "z1", "10%", "--reason", "canary", "--for", "2h"),
        ("pin", "z1", "0.25", "--reason", "canary"),
        ("unpin", "z1"),
        ("freeze", "--reason", "maintenance", "--for", "90s"),
        ("unfreeze",),
    ):
        result = served.run(*args)
        assert result.exit_code == 0, result.output
        assert result.output.startswith("✓ ")
    got = [(c.verb, c.name, c.reason, c.for_s, c.share, c.now, c.force) for c in served.coordinator.commands]
    assert got == [
        ("drain", "z1", "kernel", 5400.0, None, True, True),
        ("restore", "z1", "", None, None, False, False),
        ("restore", "z1", "", None, None, True, True),
        ("pin", "z1", "canary", 7200.0, 0.1, False, False),
        ("pin", "z1", "canary", None, 0.25, False, False),
        ("unpin", "z1", "", None, None, False, False),
        ("freeze", "", "maintenance", 90.0, None, False, False),
        ("unfreeze", "", "", None, None, False, False),
    ]


PREVIEW = {"receives": [{"name": "z2", "from": 0.5, "to": 1.0, "utilization": 0.9}], "moved": 0.5}


def test_the_impact_of_a_drain_is_shown(served):
    served.coordinator.says = Answer("x", "ok", "z1 is draining", {"preview": PREVIEW | {"after_utilization": 0.9}})
    text = served.run("drain", "z1", "--reason", "x").output
    assert "50.0% of the traffic moves; utilization after: 90%" in text
    assert "z2" in text
    answer = json.loads(served.run("drain", "z1", "--reason", "x", "--json").output)
    assert answer["data"]["preview"]["receives"][0]["to"] == 1.0


def test_a_veto_is_exit_3_with_the_guards_words_and_the_impact(served):
    veto = {"preview": PREVIEW, "veto": {"guard": "floor"}}
    served.coordinator.says = Answer("x", "vetoed", "floor: 1 of 2 would be left", veto)
    done = steerd(served, "drain", "z1", "--reason", "x")
    assert done.returncode == 3
    assert "vetoed: floor: 1 of 2 would be left" in done.stderr
    assert "50.0% of the traffic moves" in done.stdout
    result = served.run("drain", "z1", "--reason", "x", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["result"] == "vetoed"


def test_refusals(served):
    for result, code in (("invalid", 2), ("not-leading", 1), ("not-persisted", 1)):
        served.coordinator.says = Answer("x", result, "the reason why")
        done = served.run("freeze", "--reason", "x")
        assert done.exit_code == code
        assert "the reason why" in done.output


def test_the_caller_is_recorded(served):
    served.run("unfreeze")
    until_sync(lambda: served.coordinator.commands)
    assert served.coordinator.commands[0].by == pwd.getpwuid(os.getuid()).pw_name


def test_the_module_runs_like_the_program():
    assert Path(sys.executable).exists()
    done = subprocess.run(
        [sys.executable, "-m", "steerd", "--help"], capture_output=True, text=True, timeout=30, check=True
    )
    assert "Usage: steerd" in done.stdout
