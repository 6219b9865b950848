"""`exec`: commands that answer, that do not, and that leave somebody behind; and plug-ins of other packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from probes.outcome import Outcome, Status
from tests.support.looking import Look
from tests.support.wait import until

ROOT = Path(__file__).resolve().parents[2]


async def run(look: Look, *command: str, within_s: float = 10.0, **settings: Any) -> Outcome:
    settings = {"command": list(command), **settings}
    return await look(
        "exec", "http://e1.test:80", settings, within_s=within_s, model="m-1", resolve=lambda ref: str(ref.ref)
    )


async def python(look: Look, code: str, **settings: Any) -> Outcome:
    return await run(look, sys.executable, "-c", code, **settings)


async def test_a_command_is_told_its_target_and_its_answer_is_the_outcome(look: Look) -> None:
    code = "import json,sys; said = json.load(sys.stdin); "
    code += "print(json.dumps({'status': 'SLOW', 'reason': said['url'] + ' ' + said['model'] + ' ' + sys.argv[1],"
    code += " 'detail': 'd', 'version': 'v3', 'readings': {'rows': 5}, 'tokens': 12}))"
    outcome = await run(look, sys.executable, "-c", code, "$model")
    assert (outcome.status, outcome.reason) == (Status.SLOW, "http://e1.test:80 m-1 m-1")
    assert (outcome.version, dict(outcome.readings), outcome.tokens) == ("v3", {"rows": 5.0}, 12)


async def test_any_language_will_do(look: Look) -> None:
    outcome = await run(look, "sh", "-c", """echo '{"status": "FAIL", "transport": true}'""")
    assert (outcome.status, outcome.reason, outcome.transport) == (Status.FAIL, "the command says FAIL", True)


@pytest.mark.parametrize(
    ("code", "needle"),
    [
        ("import sys; sys.exit('it broke')", "printed no outcome"),
        ("print('fine')", "printed no outcome"),
        ("print('[' * 100000)", "printed too much"),
        ('print(\'{"status": "GOOD"}\')', "`status`"),
        ("print('[]')", "`status`"),
        ('print(\'{"status": "PASS", "color": 1}\')', "'color'"),
        ('print(\'{"status": "PASS", "readings": {"a": "b"}}\')', "`readings`"),
        ('print(\'{"status": "PASS", "readings": {"a": NaN}}\')', "`readings`"),
        ('print(\'{"status": "PASS", "tokens": -1}\')', "`tokens`"),
        ('print(\'{"status": "FAIL", "reason": 7}\')', "`reason`"),
        ("while True: print('x' * 1000)", "printed too much"),
    ],
)
async def test_what_is_no_outcome_is_the_commands_error(look: Look, code: str, needle: str) -> None:
    outcome = await python(look, code)
    assert (outcome.status, outcome.host_error) == (Status.ERROR, False)
    assert needle in (outcome.reason or "")


async def test_what_it_said_on_standard_error_is_there(look: Look) -> None:
    outcome = await python(look, "import sys; sys.exit('cannot open the vault')")
    assert "exit code 1: cannot open the vault" in (outcome.detail or "")


async def test_no_such_program(look: Look, tmp_path: Path) -> None:
    missing = await run(look, str(tmp_path / "none"))
    assert (missing.status, missing.host_error) == (Status.ERROR, False)
    assert "cannot be started" in (missing.reason or "")
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    forbidden = await run(look, str(tmp_path / "plain"))
    assert (forbidden.status, forbidden.host_error) == (Status.ERROR, False)


def gone(pid: int) -> bool:
    """True once no process has this id, or only what nobody has collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("ends", [False, True], ids=["runs on", "has ended"])
async def test_the_whole_group_is_killed(look: Look, tmp_path: Path, ends: bool) -> None:
    """A child that ignores signals, and holds on to the pipe, of a command that is over its time or has long ended."""
    child = "import os,signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    code = f"import subprocess,sys; p = subprocess.Popen([sys.executable, '-c', {child!r}]); "
    code += f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); "
    code += 'print(\'{"status": "PASS"}\', flush=True); ' + ("" if ends else "p.wait()")
    outcome = await python(look, code, within_s=3.0)
    expected = (Status.PASS, None) if ends else (Status.ERROR, "the command did not end in time")
    assert (outcome.status, outcome.reason) == expected
    pid = int((tmp_path / "pid").read_text())
    await until(lambda: gone(pid))


async def test_its_environment_is_what_the_config_gives(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTS_OWN_SECRET", "agents-own-secret")
    code = "import os,json; print(json.dumps({'status': 'FAIL', 'reason': ' '.join(sorted(os.environ)),"
    code += " 'detail': os.environ['KEY']}))"
    outcome = await python(look, code, env={"KEY": {"env": "s3cret-value"}, "PLAIN": "x"})
    names = set((outcome.reason or "").split())
    assert {"KEY", "PLAIN", "PATH"} <= names
    assert "AGENTS_OWN_SECRET" not in names
    assert "s3cret-value" not in repr(outcome)


async def test_looks_leave_no_descriptors_behind(look: Look) -> None:
    await run(look, "true")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are all that is wanted
    for _ in range(5):
        await run(look, "true")
        await python(look, "import time; time.sleep(60)", within_s=0.3)
    await until(lambda: len(os.listdir("/proc/self/fd")) <= before)  # noqa: PTH208 - the same


ON_UVLOOP = """
import asyncio, sys, uvloop
from probes.exec_probe import ExecProbe
from probes.outcome import Layer
from probes.target import Target

async def main():
    for command in (sys.argv[1], "sleep 600", "yes"):
        probe = ExecProbe(Layer.LIVENESS, {"command": ["sh", "-c", command]}, str)
        outcome = await probe.look(Target("e1", "http://e1"), asyncio.get_running_loop().time() + 2.0)
        print(outcome.status, outcome.reason)

uvloop.run(main())
"""


def test_all_of_it_holds_on_uvloop() -> None:
    pytest.importorskip("uvloop")
    answer = """sleep 600 & echo '{"status": "PASS"}'"""
    command = [sys.executable, "-c", ON_UVLOOP, answer]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == [
        "PASS None",
        "ERROR the command did not end in time",
        "ERROR the command printed too much",
    ], done.stderr


# -- plug-ins

GOOD = """
from probes import Outcome, Status
from probes.kinds import Kind, Setting
KIND = Kind("fortune", "asks an oracle", (Setting("mood", "string", "of the oracle", "good"),))
class Oracle:
    def __init__(self, layer, mood): self.layer, self._mood = layer, mood
    async def look(self, target, deadline, *, fresh=False):
        return Outcome(Status.PASS if self._mood == "good" else Status.FAIL, self.layer, None if self._mood == "good" else "omens")
    async def close(self): pass
def build(layer, settings, resolve): return Oracle(layer, settings.get("mood", "good"))
"""


def installed(folder: Path, name: str, source: str, value: str = "") -> dict[str, str]:
    """An environment in which a package with this plug-in is installed."""
    (folder / f"{name}_plugin.py").write_text(source)
    info = folder / f"{name}_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[steerd.probes]\n{name} = {value or name + '_plugin'}\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT))), "NO_COLOR": "1"}


def steerd(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "steerd", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


CONFIG = """
fleet: test
regions: {r1: {zones: [z1]}}
agents: {a1: {zone: z1}}
coordinators: {c1: {region: r1, url: "http://127.0.0.1:7443"}}
services:
  chat:
    checks: {liveness: {kind: fortune, mood: MOOD}}
    endpoints: {chat-1: {zone: z1, url: "http://127.0.0.1:1", capacity: 10}}
quorum: {voices: 1, vantage_regions: 1}
"""


@pytest.mark.parametrize(("mood", "verdict", "code"), [("good", "healthy", 0), ("bad", "unhealthy", 1)])
def test_a_plug_in_is_a_kind_like_any_other(tmp_path: Path, mood: str, verdict: str, code: int) -> None:
    env = installed(tmp_path, "fortune", GOOD)
    config = tmp_path / "steerd.yaml"
    config.write_text(CONFIG.replace("MOOD", mood))
    checked = steerd("config", "check", str(config), env=env)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    done = steerd("probe", "chat-1", "--config", str(config), "--json", env=env)
    assert done.returncode == code, done.stderr
    assert json.loads(done.stdout)["verdict"] == verdict
    config.write_text(CONFIG.replace("mood: MOOD", "moood: good"))
    wrong = steerd("config", "check", str(config), env=env)
    assert (wrong.returncode, "mood" in wrong.stdout + wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    ("source", "value", "needle"),
    [
        ("raise RuntimeError('no licence')", "", "no licence"),
        ("x = 1", "", "no KIND"),
        (GOOD.replace('"fortune"', '"luck"'), "", "'luck'"),
        (GOOD.partition("def build")[0], "", "no build"),
        ("", "no_such_module", "no_such_module"),
    ],
)
def test_a_plug_in_that_is_broken_breaks_nothing_else(tmp_path: Path, source: str, value: str, needle: str) -> None:
    env = installed(tmp_path, "fortune", source, value)
    assert steerd("stacks", env=env).returncode == 0
    config = tmp_path / "steerd.yaml"
    config.write_text(CONFIG.replace(", mood: MOOD", ""))
    code = (
        "import sys; from pathlib import Path; from steerd import config; from steerd.config.support import unbuilt; "
    )
    code += "print(*unbuilt(config.load(Path(sys.argv[1])), 'agent'))"
    command = [sys.executable, "-c", code, str(config)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert needle in done.stdout, done.stdout + done.stderr
    probed = steerd("probe", "chat-1", "--config", str(config), env=env)
    assert (probed.returncode, "left out" in probed.stderr, needle in probed.stderr) == (2, True, True), probed.stderr


def test_a_plug_in_does_not_take_a_name_of_ours(tmp_path: Path) -> None:
    env = installed(tmp_path, "http", GOOD.replace('"fortune"', '"http"'))
    code = "from probes.registry import make; print(type(make('http', 'liveness', {}, str)).__name__)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "HttpProbe"
