"""The daemons, as processes: they start, answer, follow their config, and end."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.support.dnsclient import values
from tests.support.servers import free_port
from tests.support.wait import until_sync

pytestmark = pytest.mark.slow

CONFIG = """\
fleet: small
regions: {{r1: {{zones: [z1, z2]}}}}
agents:
  here: {{zone: z1{token}}}
{agents}quorum: {{voices: 1}}
coordinators:
  main: {{region: r1, url: "http://127.0.0.1:{port}"}}
listen: {{port: {port}, socket: {dir}/s.sock}}
store: {{kind: sqlite, path: {dir}/steerd.db}}
providers:
  dns: {{kind: embedded, listen: "127.0.0.1:{dns}", zone: steerd.test}}
verdict: {{fall: 2, rise: 2, confirm_gap: 20ms}}
services:
  chat:
    stack: http
    checks:
      liveness: {{interval: 200ms, timeout: 150ms}}
    endpoints:
      chat-a: {{zone: z1, url: "http://127.0.0.1:{web}/a", address: 192.0.2.1}}
      chat-b: {{zone: z2, url: "http://127.0.0.1:{web}/b", address: 192.0.2.2}}
    routes:
      - {{provider: dns, name: chat.steerd.test, type: A, ttl: 5s, per: zone}}
"""


class _Fine(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args: object) -> None:
        """Quiet."""


class World:
    """A config, its ports, and the processes started on it."""

    def __init__(self, folder: Path, web: int) -> None:
        self.dir = folder
        self.port, self.dns, self.web = free_port(), free_port(), web
        self.config = folder / "steerd.yaml"
        self.log = folder / "log"
        self.write(self.text())

    def text(self, *, token: str = "", agents: str = "") -> str:
        return CONFIG.format(port=self.port, dns=self.dns, web=self.web, dir=self.dir, token=token, agents=agents)

    def write(self, text: str) -> None:
        self.config.write_text(text)

    @contextmanager
    def daemon(self, *args: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "steerd", *args], stdout=log, stderr=log, env=environment() | env
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(30)

    def get(self, path: str, port: int | None = None) -> tuple[int, str]:
        """Status and body; 0 while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port or self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def status(self) -> dict[str, Any]:
        return json.loads(self.get("/v1/status")[1] or "{}")

    def steerd(self, *args: str) -> subprocess.CompletedProcess[str]:
        env = environment() | {"STEERD_SOCKET": f"{self.dir}/s.sock"}
        return subprocess.run(
            [sys.executable, "-m", "steerd", *args], capture_output=True, text=True, timeout=30, env=env, check=False
        )

    def events(self) -> list[dict[str, Any]]:
        """The log; every line is JSON, because the log is no terminal."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def logged(self, words: str) -> bool:
        return words in self.log.read_text()


def environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Fine)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield World(tmp_path, server.server_address[1])
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_a_whole_life(world):
    with world.daemon("run", "--config", str(world.config)) as process:
        until_sync(lambda: world.status().get("services", {}).get("chat", {}).get("health") == "healthy", 20)
        assert world.get("/livez") == (200, "ok\n")
        assert world.get("/readyz") == (200, "main leads\n")
        assert "steerd_leader" in world.get("/metrics")[1]
        assert "steerd_check_duration" in world.get("/metrics")[1], "the agent's meters are there too"
        assert world.get("/beacon/z1")[0] == 200
        assert world.get("/")[0] == 200

        until_sync(lambda: world.status()["services"]["chat"]["routes"][0]["in_sync"], 10)
        done = world.steerd("status")
        assert done.returncode == 0, done.stdout
        assert "all well" in done.stdout
        assert "z1 50%, z2 50%" in done.stdout

        done = world.steerd("drain", "z1", "--reason", "kernel", "--now")
        assert done.returncode == 0, done.stderr
        until_sync(lambda: world.steerd("plan").stdout.count("no change: z1 0%, z2 100%") == 1, 10)
        assert {tuple(values("127.0.0.1", world.dns, "chat.steerd.test")) for _ in range(20)} == {("192.0.2.2",)}
        assert world.get("/beacon/z1")[0] == 503
        assert world.get("/beacon/z1?inverted")[0] == 200
        assert world.steerd("restore", "z1", "--now").returncode == 0
        assert world.steerd("restore", "z1").returncode == 2, "it is not drained any more"
        assert "kernel" in world.steerd("history").stdout

        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert not (world.dir / "s.sock").exists()
    assert world.get("/livez")[0] == 0
    assert [e for e in world.events() if e["level"] in ("ERROR", "CRITICAL")] == []


def test_agent_and_coordinator_apart(world):
    listen = free_port()
    text = world.text(token=f", token: {{env: HERE_TOKEN}}, listen: {{port: {listen}}}")
    world.write(text)
    with (
        world.daemon("coordinator", HERE_TOKEN="s3cret-token", STEERD_CONFIG=str(world.config)),
        world.daemon("agent", HERE_TOKEN="s3cret-token", STEERD_CONFIG=str(world.config), STEERD_AGENT="here") as agent,
    ):
        until_sync(lambda: world.status().get("agents", {}).get("here", {}).get("state") == "voting", 20)
        assert world.get("/readyz", listen) == (200, "heard by main\n")
        assert world.get("/livez", listen) == (200, "ok\n")
        until_sync(lambda: "steerd_check_duration" in world.get("/metrics", listen)[1], 20)  # once a look has ended
        assert world.get("/v1/status", listen)[0] == 404
        agent.send_signal(signal.SIGINT)
        assert agent.wait(10) == 0
    assert not world.logged("s3cret")


def test_a_bad_config_is_exit_2_with_every_line(world):
    world.write(world.text().replace("zones:", "zoones:").replace("interval: 200ms", "interval: soon"))
    done = world.steerd("run", "--config", str(world.config))
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith(f"{world.config}:")]
    places = {line.split(":")[1] for line in lines if line.count(":") >= 3}
    assert {"2", str(1 + line_of(world, "interval: soon"))} <= places, lines
    assert "problems; nothing was started" in done.stderr
    assert not (world.dir / "steerd.db").exists()


def line_of(world: World, words: str) -> int:
    return next(i for i, line in enumerate(world.config.read_text().splitlines()) if words in line)


def test_what_this_build_lacks_is_exit_2(world):
    world.write(
        world.text().replace(
            f"{{kind: sqlite, path: {world.dir}/steerd.db}}", '{kind: etcd, endpoints: ["http://127.0.0.1:1"]}'
        )
    )
    done = world.steerd("run", "--config", str(world.config))
    assert done.returncode == 2
    assert "etcd" in done.stderr
    assert "not built" in done.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("run",), ["which agent?", "--agent NAME", "here, there"]),
        (("agent",), ["which agent?", "--name NAME", "here, there"]),
        (("run", "--agent", "nobody"), ["no agent is called 'nobody'", "here, there"]),
        (("coordinator", "--name", "nobody"), ["no coordinator is called 'nobody'", "main"]),
    ],
)
def test_names_that_are_not_in_the_config(world, args, words):
    world.write(world.text(agents="  there: {zone: z2}\n"))
    done = world.steerd(*args, "--config", str(world.config))
    assert done.returncode == 2
    for word in words:
        assert word in done.stderr


def test_a_reload(world):
    with world.daemon("run", "--config", str(world.config)) as process:
        until_sync(lambda: world.status().get("services", {}).get("chat", {}).get("health") == "healthy", 20)
        before = world.status()["config_hash"]

        world.write(world.text() + "nonsense: true\n")
        process.send_signal(signal.SIGHUP)
        until_sync(lambda: world.status()["coordinator"]["config_problem"], 10)
        assert "nonsense" in world.status()["coordinator"]["config_problem"]
        assert world.status()["config_hash"] == before
        done = world.steerd("status")
        assert done.returncode == 1
        assert "the config on disk is not in force" in done.stdout

        world.write(world.text().replace("fall: 2", "fall: 3"))
        until_sync(lambda: world.status()["config_hash"] != before, 10)
        assert world.status()["coordinator"]["config_problem"] is None

        good = world.text()
        world.write(good.replace("{region: r1", "{region: r1").replace("  here:", "  elsewhere:"))
        process.send_signal(signal.SIGHUP)
        until_sync(lambda: world.status()["coordinator"]["config_problem"], 10)
        assert "agent here is not in it" in world.status()["coordinator"]["config_problem"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_config_that_removes_too_much_waits_to_be_accepted(world):
    three = f'      chat-c: {{zone: z2, url: "http://127.0.0.1:{world.web}/c", address: 192.0.2.3}}\n'
    lines = world.text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if "chat-b" in line) + 1
    world.write("".join([*lines[:at], three, *lines[at:]]))
    with world.daemon("run", "--config", str(world.config)):
        until_sync(lambda: world.status().get("services", {}).get("chat", {}).get("health") == "healthy", 20)
        world.write("".join(line for line in lines if "chat-b" not in line))
        until_sync(lambda: world.status()["coordinator"]["config_problem"], 10)
        assert "removes 67%" in world.status()["coordinator"]["config_problem"]
        assert len(world.status()["services"]["chat"]["endpoints"]) == 3
        assert post(f"{world.dir}/s.sock", "/v1/config/accept") == 200
        until_sync(lambda: list(world.status()["services"]["chat"]["endpoints"]) == ["chat-a"], 10)
        assert world.status()["coordinator"]["config_problem"] is None
        assert post(f"{world.dir}/s.sock", "/v1/config/accept") == 409


def post(path: str, target: str) -> int:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(f"POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
        return int(sock.recv(1000).split()[1])


def test_a_second_coordinator_on_the_same_store_says_who_has_it(world):
    with world.daemon("coordinator", "--config", str(world.config)):
        until_sync(lambda: world.get("/readyz")[0] == 200, 20)
        other = world.dir / "other.yaml"
        other.write_text(world.text().replace(str(world.port), str(free_port())).replace("/s.sock", "/t.sock"))
        done = world.steerd("coordinator", "--config", str(other))
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        fatal = [e for e in map(json.loads, done.stderr.splitlines()) if e["level"] == "CRITICAL"]
        assert len(fatal) == 1
        assert "main" in fatal[0]["event"]


def test_a_port_in_use_is_one_line(world):
    with socket.create_server(("127.0.0.1", world.port)):
        done = world.steerd("coordinator", "--config", str(world.config))
    assert done.returncode == 1
    fatal = [e["event"] for e in map(json.loads, done.stderr.splitlines()) if e["level"] == "CRITICAL"]
    assert len(fatal) == 1
    assert f"127.0.0.1:{world.port}: another process has it" in fatal[0]


def test_a_kill_leaves_nothing_in_the_way(world):
    with world.daemon("run", "--config", str(world.config)) as process:
        until_sync(lambda: world.get("/readyz")[0] == 200, 20)
        process.kill()
        process.wait(10)
    assert (world.dir / "s.sock").exists(), "killed, it could not tidy up"
    with sqlite3.connect(world.dir / "steerd.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    with world.daemon("run", "--config", str(world.config)):
        until_sync(lambda: world.status().get("services", {}).get("chat", {}).get("health") == "healthy", 20)
        assert world.steerd("freeze", "--reason", "x").returncode == 0, "the stale socket was replaced"


def test_a_daemon_may_open_as_many_files_as_its_hard_limit_allows():
    code = """
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
from steerd.cli import daemon
daemon._raise_descriptor_limit()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), timeout=30)
